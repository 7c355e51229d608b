"""Other releases of transformers: which are tested, the warning about others, overlays, what holds for some only."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version
from rich.console import Console

import hf_ascend.conformance
from hf_ascend.cli.app import CommandError
from hf_ascend.cli.overlay import overlay
from hf_ascend.conformance import catalog, known, report, sweep, worker
from hf_ascend.retarget import rules
from hf_ascend.retarget.rules import Rule, Verdict
from hf_ascend.runtime import environment

# ---- the warning

IMPORTS = """
import sys, warnings
from hf_ascend.runtime import environment
environment.TESTED["transformers"] = {tested}
import hf_ascend.transformers
import hf_ascend.transformers
from hf_ascend import BertConfig
print(BertConfig(hidden_size=8).hidden_size)
"""
INSTALLED = ".".join(environment.version_of("transformers").split(".")[:2])


def import_with(tested, tmp_path, **env):
    code = IMPORTS.format(tested=tested)
    env = {**os.environ, **env}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=True
    )
    return done.stdout.strip(), done.stderr.count("hf_ascend was not tested with transformers")


def test_an_untested_release_warns_once_and_works(tmp_path):
    assert import_with(("5.0",), tmp_path) == ("8", 1)


def test_the_warning_can_be_silenced(tmp_path):
    assert import_with(("5.0",), tmp_path, PYTHONWARNINGS="ignore:hf_ascend was not tested") == ("8", 0)


def test_a_tested_release_does_not_warn(tmp_path):
    assert import_with((INSTALLED,), tmp_path) == ("8", 0)


def test_the_warning_names_what_is_tested_and_how_to_test():
    with pytest.warns(environment.UntestedWarning, match=r"transformers 5\.1\.0 .*5\.23.*hf-ascend conformance"):
        environment.warn_untested("transformers", "5.1.0")


# ---- the claim


def test_the_oldest_tested_release_is_the_lower_bound():
    text = Path(hf_ascend.conformance.__file__).resolve().parent.parent.joinpath("pyproject.toml").read_text()
    oldest = min(environment.TESTED["transformers"], key=Version)
    assert f'"transformers>={oldest},<6"' in text


OLDER = sorted(set(environment.TESTED["transformers"]) - {INSTALLED}, key=Version)


@pytest.mark.parametrize("release", OLDER)
def test_an_older_tested_release_has_results_of_the_whole_sample_without_news(release):
    (file,) = (Path(hf_ascend.conformance.__file__).parent / "results").glob(f"transformers-{release}.*.jsonl")
    found = sweep.Results(file.parent, file.stem.removeprefix("transformers-")).found
    assert set(catalog.sample()) <= set(found)
    news = known.News()
    for name in catalog.sample():
        assert found[name]["transformers"].startswith(release + ".")
        assert set(found[name]["checks"]) == set(catalog.CHECKS)
        news.judge(found[name])
    assert not news, (news.failures, news.passes)
    matched = [n for n in catalog.sample() if found[n]["checks"]["forward"]["status"] == "match"]
    assert len(matched) >= 0.9 * len(catalog.sample())


# ---- overlays


def wheel(folder, name, version, requires=()):
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {r}\n" for r in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as out:
        out.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip installs from, and nothing else; the cache is empty."""
    folder, cache = tmp_path / "index", tmp_path / "cache"
    folder.mkdir()
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", folder), ("HF_ASCEND_CACHE", cache)):
        monkeypatch.setenv(name, str(value))
    return folder


def test_the_installed_release_needs_no_overlay(index):
    installed = environment.version_of("transformers")
    assert overlay(installed, Console(quiet=True)) == (installed, None)


def test_an_overlay_holds_the_release_and_what_the_installed_packages_do_not_meet(index):
    wheel(index, "transformers", "5.998.0", ["packaging==0.0.1", "numpy>=1.17", 'absent_one>=1; extra == "more"'])
    wheel(index, "packaging", "0.0.1", ["dependency_of_it"])
    wheel(index, "dependency_of_it", "3.0")
    release, folder = overlay("5.998", Console(quiet=True))
    assert release == "5.998"
    packages = sorted(p.name for p in Path(folder).iterdir() if not p.name.endswith(".dist-info"))
    assert packages == ["dependency_of_it", "packaging", "transformers"]
    assert overlay("5.998", Console(quiet=True)) == (release, folder)


@pytest.mark.parametrize("release", ["5.999.0", "newest"])
def test_a_release_that_does_not_exist_is_an_error_and_leaves_nothing_behind(index, release):
    wheel(index, "transformers", "5.998.0")
    with pytest.raises(CommandError, match=rf"--transformers-version {release}: (No matching distribution|not a ver)"):
        overlay(release, Console(quiet=True))
    assert not list(index.parent.glob("cache/*"))


def test_a_requirement_that_cannot_be_had_leaves_no_half_of_an_overlay(index):
    wheel(index, "transformers", "5.998.0", ["packaging==0.0.2"])
    with pytest.raises(CommandError, match="packaging==0.0.2"):
        overlay("5.998.0", Console(quiet=True))
    assert not list(index.parent.glob("cache/*"))


# ---- what differs from release to release


@pytest.mark.parametrize(("release", "applies"), [("5.8.1", True), ("5.9.0", False), ("5.23.0", False), (None, False)])
def test_a_rule_for_some_releases_is_silent_in_the_others(release, applies):
    assert Rule("x.*", Verdict.EXECUTED, "", "<5.9").matches("x.y", lambda: release) is applies
    assert Rule("x.*", Verdict.EXECUTED, "").matches("x.y", lambda: release)
    assert not Rule("x.*", Verdict.EXECUTED, "", "<5.9").matches("y", lambda: "5.3.0")


def test_a_rule_for_some_releases_leaves_the_default_to_the_others(monkeypatch):
    for release, expected in (("5.3.0", Verdict.EXECUTED), ("5.23.0", Verdict.SHARED)):
        monkeypatch.setattr(rules, "release_of", lambda package, release=release: release)
        assert rules.verdict(rules.TRANSFORMERS, "backbone_utils", False, lambda: "no tensors") is expected


def test_an_entry_gets_what_an_older_release_wants_otherwise_in_its_config():
    entry = catalog.entries()["deepseek_v2/DeepseekV2ForCausalLM"]
    assert entry.config(catalog.release()) == entry.facts["config"]
    assert entry.config("5.3.0") == {**entry.facts["config"], "topk_method": "greedy"}
    assert entry.facts["config"]["topk_method"] != "greedy"


def result(status, release="5.3.0"):
    return {"name": "bert/BertModel", "transformers": release, "checks": {"forward": {"status": status}}}


def test_a_known_failure_of_some_releases_is_news_in_the_others(monkeypatch):
    row = {"entries": ["bert/*"], "checks": ["forward"], "reason": "why", "transformers": "<5.15"}
    monkeypatch.setattr(known, "table", lambda: (row,))
    for status, release, failures, passes in (
        ("differ", "5.3.0", 0, 0),
        ("match", "5.3.0", 0, 1),
        ("differ", "5.15.0", 1, 0),
        ("match", "5.15.0", 0, 0),
    ):
        news = known.News()
        news.judge(result(status, release))
        assert (len(news.failures), len(news.passes)) == (failures, passes), (status, release)


def test_a_class_that_a_release_lacks_is_no_failure_and_does_not_count_but_a_missing_package_is():
    for status, failures in (("absent", 0), ("missing", 1)):
        news, found = known.News(), result(status)
        news.judge(found)
        assert len(news.failures) == failures
        assert sweep.failed(found, ("forward",)) is bool(failures)
        assert report.tally({found["name"]: found}, [found["name"]], "forward") == (0, failures)


def test_a_class_that_does_not_exist_is_absent_in_other_releases_and_missing_in_the_catalogues_own(monkeypatch):
    facts = next(iter(catalog.entries().values())).facts
    entry = catalog.Entry("bert/BertForNothing", {**facts, "model_type": "bert", "class": "BertForNothing"})
    monkeypatch.setattr(catalog, "entries", lambda: {entry.name: entry})
    for release, status in ((environment.version_of("transformers"), "missing"), ("5.999.0", "absent")):
        monkeypatch.setattr(catalog, "release", lambda release=release: release)
        assert worker.run(entry.name, ("forward",), None)["checks"]["forward"]["status"] == status


def test_the_process_that_reads_the_catalogue_does_not_import_transformers(tmp_path):
    code = (
        "import sys, json, hf_ascend.cli.conformance; from hf_ascend.conformance import catalog, sweep, worker;"
        "catalog.select([]); print(json.dumps([m for m in ('transformers', 'tokenizers') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    assert importlib.util.find_spec("transformers") is not None


def sees(name, checks, seed):
    """Stands for the work of a worker process: where its modules come from."""
    import transformers

    from hf_ascend.transformers import activations

    return {"name": name, "files": [transformers.__file__, activations.__file__]}


def test_worker_processes_import_the_overlay_in_both_worlds(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ASCEND_CACHE", str(tmp_path / "cache"))
    place = importlib.util.find_spec("transformers").submodule_search_locations[0]
    other = tmp_path / "other"
    other.mkdir()
    (other / "transformers").symlink_to(place)
    (found,) = sweep.run(["bert/BertModel"], ("forward",), 1, overlay=str(other), work=sees)
    assert all(f.startswith(str(other)) for f in found["files"]), found
