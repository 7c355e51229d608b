"""The built wheel, installed in an empty folder, and the editable install have the same import names."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("hf_ascend", "hf_ascend.shims", "hf_ascend.kernels", "hf_ascend.conformance", "hf_ascend.cli")

REPORT = """
import importlib, importlib.util, json, sys
names = {names!r}
print(json.dumps({{
    "files": {{n: importlib.import_module(n).__file__ for n in names}},
    "loose": {{n: getattr(importlib.util.find_spec(n), "origin", None) for n in ("kernels", "shims", "conformance")}},
    "stand_in": importlib.util.find_spec("hf_ascend.torch").origin,
    "heavy": [m for m in ("torch", "mindspore", "transformers") if m in sys.modules],
}}))
"""

MODEL = """
import hf_ascend
from hf_ascend import BertConfig, BertModel, torch

sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}
print(tuple(BertModel(BertConfig(**sizes)).eval()(torch.tensor([[1, 2]])).last_hidden_state.shape))
assert torch.__file__.startswith(sys.path[0]), torch.__file__
"""


def run(args, cwd, **env):
    done = subprocess.run(
        args, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a clean copy of the tracked and new files."""
    out = tmp_path_factory.mktemp("wheel")
    tree = out / "tree"
    tree.mkdir()
    for name in ("hf_ascend", "shims", "kernels", "conformance", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        with tarfile.open(out / "part.tar", "w") as tar:
            tar.add(ROOT / name, name, filter=lambda m: None if "__pycache__" in m.name else m)
        with tarfile.open(out / "part.tar") as tar:
            tar.extractall(tree, filter="data")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(tree)], out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with nothing but the installed wheel."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, "--target", str(target), str(wheel)], target)
    return target


def test_every_source_file_is_in_the_wheel(wheel):
    have = set(zipfile.ZipFile(wheel).namelist())
    for top, inside in (
        ("hf_ascend", ""),
        ("shims", "hf_ascend/"),
        ("kernels", "hf_ascend/"),
        ("conformance", "hf_ascend/"),
    ):
        for file in (ROOT / top).rglob("*"):
            if file.suffix in (".py", ".cc", ".h", ".json", ".html") or file.name == "py.typed":
                assert inside + str(file.relative_to(ROOT)) in have, file


def test_installed_wheel_has_its_names_below_hf_ascend_only(installed, tmp_path):
    code = f"import sys; sys.path[0:0] = [{str(installed)!r}]\n" + REPORT.format(names=NAMES)
    # -S -E and our own path: what an editable install of the checkout adds must not be seen
    site = f"import sys; sys.path += {[p for p in sys.path if p.endswith('site-packages')]!r}\n"
    report = json.loads(run([sys.executable, "-S", "-E", "-c", site + code], tmp_path))
    assert {n: f.startswith(str(installed)) for n, f in report["files"].items()} == dict.fromkeys(NAMES, True)
    assert report["stand_in"] == str(installed / "hf_ascend" / "shims" / "torch" / "__init__.py")
    assert report["heavy"] == []
    for name, origin in report["loose"].items():
        assert origin is None or not origin.startswith((str(installed), str(ROOT))), name
    top = {p.name for p in installed.iterdir()} - {"bin"}
    assert {n for n in top if not n.endswith(".dist-info")} == {"hf_ascend"}


def test_installed_wheel_runs_a_model(installed, tmp_path):
    site = f"import sys; sys.path += {[p for p in sys.path if p.endswith('site-packages')]!r}\n"
    code = f"import sys; sys.path[0:0] = [{str(installed)!r}]\n" + site + MODEL
    assert run([sys.executable, "-S", "-E", "-c", code], tmp_path).strip() == "(1, 2, 8)"


def test_editable_install_has_the_same_names(tmp_path):
    report = json.loads(run([sys.executable, "-c", REPORT.format(names=NAMES)], tmp_path))
    assert set(report["files"]) == set(NAMES)
    for name, origin in report["loose"].items():
        assert origin is None or not origin.startswith(str(ROOT)), name


def test_command_is_installed_and_answers_without_torch_or_mindspore(tmp_path):
    code = (
        "import sys; from hf_ascend.cli import main; sys.argv = ['hf-ascend', '--help']\n"
        "try: main()\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'mindspore', 'transformers'} & set(sys.modules)"
    )
    out = run([sys.executable, "-c", code], tmp_path)
    for command in ("run", "generate", "chat", "env"):
        assert command in out
