"""Retargeting: which code runs where, under which names, and what users see of it."""

import ast
import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import transformers

import hf_ascend
from hf_ascend.retarget import finder, rules
from hf_ascend.retarget.rewrite import rewrite
from hf_ascend.retarget.rules import PACKAGES, Verdict

UPSTREAM = Path(transformers.__file__).parent


def run_python(code, cwd, **env):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- import


def test_import_brings_neither_torch_nor_mindspore_nor_transformers(tmp_path):
    code = "import hf_ascend, sys, json; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    assert not {"torch", "mindspore", "transformers", "numpy"} & set(json.loads(run_python(code, tmp_path)))


def test_configs_and_environment_report_do_not_start_mindspore(tmp_path):
    code = "import sys; from hf_ascend.runtime import environment as e; e.report(); print('mindspore' in sys.modules)"
    assert run_python(code, tmp_path).strip() == "False"


# ---- names


def public_names():
    return [n for n in dir(transformers) if not n.startswith("_")]


def test_every_public_name_of_transformers_is_listed():
    assert set(public_names()) <= set(dir(hf_ascend))


def _same_error(name):
    """Whether real transformers cannot give the name either (an optional dependency is missing)."""
    try:
        getattr(transformers, name)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("part", range(4))
def test_public_names_resolve(part):
    """Every Auto class, pipeline and plain function, and each 40th of the rest."""
    names = public_names()
    general = [
        n
        for n in names
        if n.startswith(("Auto", "Pipeline", "Trainer", "Training")) or n.endswith("Pipeline") or n.islower()
    ]
    wanted = sorted({*general, *names[::40]})[part::4]
    assert len(wanted) > 50
    failed = {}
    for name in wanted:
        try:
            getattr(hf_ascend, name)
        except Exception as error:
            if not _same_error(name):
                failed[name] = repr(error)
    assert failed == {}


def test_unknown_name_is_an_attribute_error_that_names_the_version():
    with pytest.raises(AttributeError, match=rf"NoSuchModel.*{transformers.__version__}"):
        hf_ascend.NoSuchModel  # noqa: B018


def test_configs_are_the_real_classes():
    names = [n for n in public_names() if n.endswith("Config") and not _same_error(n)]
    configs = [n for n in names if "configuration_" in getattr(transformers, n).__module__ and n != "DistributedConfig"]
    assert len(configs) > 500
    assert [n for n in configs if getattr(hf_ascend, n) is not getattr(transformers, n)] == []


def test_models_are_not_the_real_classes_but_have_their_names():
    ours, real = hf_ascend.BertModel, transformers.BertModel
    assert ours is not real
    assert ours.__name__ == real.__name__
    assert ours.__module__ == "hf_ascend." + real.__module__
    assert issubclass(ours, hf_ascend.PreTrainedModel)


# ---- verdicts

# Shared modules that mention an executed one without handing its objects on.
_ALLOWED = {
    "configuration_utils": "reads files and strings",
    "generation.configuration_utils": "makes a watermark's logits processor only when asked to",
    "dependency_versions_check": "compares versions",
    "convert_slow_tokenizers_checkpoints_to_fast": "a script",
}


def _verdict(module):
    found = finder.upstream_file("transformers", module)
    if found is None:
        return None
    if finder._source_file(finder.shims_dir() / "transformers", module):
        return Verdict.REPLACED
    return rules.verdict(PACKAGES["transformers"], module, found[1], lambda: Path(found[0]).read_text(encoding="utf-8"))


def _imported(tree, parts, is_package):
    """Dotted names below transformers that a module imports when it is imported (not for type checking)."""
    for node in tree.body:
        inner = [node]
        if isinstance(node, (ast.If, ast.Try)) and "TYPE_CHECKING" not in ast.dump(getattr(node, "test", node)):
            inner = list(ast.walk(node))
        for n in inner:
            if isinstance(n, ast.ImportFrom) and n.level:
                base = parts[: len(parts) - n.level + is_package] + (n.module.split(".") if n.module else [])
                yield ".".join(base)
                yield from (".".join([*base, a.name]) for a in n.names)


def test_no_shared_module_imports_an_executed_one():
    """It would hand real torch's objects to retargeted code."""
    wrong = {}
    for file in sorted(UPSTREAM.rglob("*.py")):
        parts = list(file.relative_to(UPSTREAM).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        parts = parts[:-1] if is_package else parts
        module = ".".join(parts)
        plain = parts[-1:] and parts[-1].startswith(("configuration_", "modular_", "convert_"))
        if not module or plain or module in _ALLOWED or module.startswith(("cli.", "utils.")):
            continue  # configurations take strings and functions; utils. knows what is installed
        if _verdict(module) is not Verdict.SHARED:
            continue
        targets = {
            name
            for name in _imported(ast.parse(file.read_text(encoding="utf-8")), parts, is_package)
            if name and not name.startswith("utils") and _verdict(name) in (Verdict.EXECUTED, Verdict.REPLACED)
            and not finder.upstream_file("transformers", name)[1]
        }  # fmt: skip
        if targets:
            wrong[module] = sorted(targets)
    assert wrong == {}


def test_shared_module_is_the_real_one_and_keeps_its_spec():
    ours = importlib.import_module("hf_ascend.transformers.generation.configuration_utils")
    real = importlib.import_module("transformers.generation.configuration_utils")
    assert ours is real
    assert real.__spec__.name == "transformers.generation.configuration_utils"
    assert real.__name__ == "transformers.generation.configuration_utils"


def test_absent_parts_of_torch_import_and_say_so_when_used():
    module = importlib.import_module("hf_ascend.torch.fx")
    with pytest.raises(NotImplementedError, match="fx.Graph.*captured by MindSpore"):
        module.Graph()
    assert not isinstance(3, module.Node)


def test_shims_are_another_name_for_the_stand_ins():
    assert importlib.import_module("hf_ascend.shims.torch") is importlib.import_module("hf_ascend.torch")


def test_unknown_module_of_a_retargeted_package_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("hf_ascend.transformers.no_such_module")


# ---- rewriting


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch", "from hf_ascend import torch"),
        ("import torch as t", "from hf_ascend import torch as t"),
        ("import torch.nn as nn", "import hf_ascend.torch.nn as nn"),
        ("import os, torch", "import os\nfrom hf_ascend import torch"),
        ("from torch import nn", "from hf_ascend.torch import nn"),
        ("from torch.nn import Linear as L", "from hf_ascend.torch.nn import Linear as L"),
        ("from . import torch", "from . import torch"),
        ("from .torch import x", "from .torch import x"),
        ("import torchaudio", "import torchaudio"),
        ("import_module('torch.nn')", "import_module('hf_ascend.torch.nn')"),
        ("import_module(f'transformers.{x}')", "import_module(f'hf_ascend.transformers.{x}')"),
        ("import_module('.x', 'transformers.models')", "import_module('.x', 'hf_ascend.transformers.models')"),
        ("x.startswith('transformers.')", "x.startswith(('transformers.', 'hf_ascend.transformers.'))"),
        ("x.startswith('transformers')", "x.startswith('transformers')"),
        ("x = 'torch'", "x = 'torch'"),
        ("sys.modules.get('transformers')", "sys.modules.get('hf_ascend.transformers')"),
        ("sys.modules['torch.nn']", "sys.modules['hf_ascend.torch.nn']"),
        ("'torch' in sys.modules", "'hf_ascend.torch' in sys.modules"),
    ],
)
def test_rewrite(source, expected):
    assert ast.unparse(rewrite(source, "f.py", PACKAGES)) == expected


def test_dotted_import_binds_the_top_name():
    names = {}
    exec(compile(rewrite("import torch.nn.functional", "f.py", PACKAGES), "f.py", "exec"), names)
    assert names["torch"] is hf_ascend.torch
    assert names["torch"].nn.functional is sys.modules["hf_ascend.torch.nn.functional"]


# ---- tracebacks and the cache of compiled code


def test_traceback_of_an_executed_module_shows_upstreams_file_and_line():
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    model = hf_ascend.BertModel(config)
    with pytest.raises(ValueError, match="input_ids") as caught:
        model()
    last = [f for f in traceback.extract_tb(caught.value.__traceback__) if "modeling_bert" in f.filename][-1]
    assert Path(last.filename) == UPSTREAM / "models" / "bert" / "modeling_bert.py"
    assert last.line.startswith("raise ValueError")
    assert last.line == Path(last.filename).read_text().splitlines()[last.lineno - 1].strip()


class CountingLoader(finder.ExecutingLoader):
    compiled = 0

    def source_to_code(self, data, path, **kwargs):
        type(self).compiled += 1
        return super().source_to_code(data, path, **kwargs)


@pytest.fixture
def loader(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ASCEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(CountingLoader, "compiled", 0)
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    return CountingLoader("module", str(source))


def _value(loader):
    names = {}
    exec(loader.get_code("module"), names)
    return names["x"]


def test_second_import_takes_the_compiled_code_from_the_cache(loader):
    assert (_value(loader), _value(loader)) == (1, 1)
    assert loader.compiled == 1


def test_changed_source_is_compiled_anew(loader):
    assert _value(loader) == 1
    Path(loader.path).write_text("x = 22\n")
    assert _value(loader) == 22
    assert loader.compiled == 2


def test_damaged_cache_is_compiled_anew(loader, tmp_path):
    assert _value(loader) == 1
    (entry,) = (p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    entry.write_bytes(entry.read_bytes()[:-3])
    assert _value(loader) == 1
    assert loader.compiled == 2


def test_unwritable_cache_only_costs_time(loader, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("HF_ASCEND_CACHE", str(blocked / "below"))
    assert (_value(loader), _value(loader)) == (1, 1)
    assert loader.compiled == 2


def test_added_package_changes_the_compiled_code(tmp_path, monkeypatch):
    """The cache must not give code that was rewritten for fewer packages."""
    before = finder._salt()
    monkeypatch.setattr(rules, "PACKAGES", dict(PACKAGES))
    monkeypatch.setattr(finder, "PACKAGES", rules.PACKAGES)
    rules.add_package("one_more")
    assert finder._salt() != before
