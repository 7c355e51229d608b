"""`hf-ascend run`: real processes running unmodified scripts."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """\
import json
import sys

import helper
import package.inner
import torch
from transformers import BertConfig, BertModel


def main():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertModel(BertConfig(**sizes, vocab_size=9))
    out = model(torch.tensor([[1, 2]])).last_hidden_state
    out.sum().backward()
    print(json.dumps({
        "name": __name__, "argv": sys.argv[1:], "file": __file__, "path": sys.path[0], "torch": torch.__name__,
        "model": type(model).__module__, "grad": model.embeddings.word_embeddings.weight.grad is not None,
        "helper": helper.kind(), "inner": package.inner.kind(), "main": sys.modules["__main__"].main is main,
        "tensor": helper.double(torch.ones(2)).tolist(), "extra": helper.extra(),
    }))


if __name__ == "__main__":
    main()
    sys.exit(int(sys.argv[1]))
"""
HELPER = """\
import torch


def kind():
    return torch.__name__


def double(x):
    return torch.add(x, x)


def extra():
    try:
        import needs_torch
    except ImportError:
        return None
    return needs_torch.torch.__name__


def fail():
    raise ValueError("on purpose")
"""
RAISE = '    raise ValueError("on purpose")'
FAILING = """\
import helper

helper.fail()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's project: a script, a module and a package beside it, and an installed package that imports torch."""
    at = tmp_path_factory.mktemp("project")
    (at / "script.py").write_text(SCRIPT)
    (at / "helper.py").write_text(HELPER)
    (at / "failing.py").write_text(FAILING)
    (at / "wrong.py").write_text("x = 1\ny = (\n")
    (at / "leaves.py").write_text("import sys\nsys.exit('no reason')\n")
    (at / "package").mkdir()
    (at / "package" / "__init__.py").write_text("")
    (at / "package" / "inner.py").write_text("from helper import kind\n")
    (at / "package" / "__main__.py").write_text(
        "import sys\nfrom .inner import kind\nprint(__name__, __package__, kind(), *sys.argv[1:])\n"
    )
    site = tmp_path_factory.mktemp("site")
    (site / "needs_torch").mkdir()
    (site / "needs_torch" / "__init__.py").write_text("import torch\n")
    (site / "needs_torch" / "tool.py").write_text("import torch\nprint(__name__, torch.__name__)\n")
    return at, site


def run(folder, *args, cwd=None):
    at, site = folder
    command = [sys.executable, "-m", "hf_ascend", "run", *args]
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}  # what -m adds to the path is not the user's
    return subprocess.run(command, cwd=cwd or at, env=env, capture_output=True, text=True, timeout=240, check=False)


def test_script_and_the_modules_beside_it_run_retargeted(folder, tmp_path):
    done = run(folder, "--retarget", "needs_torch", str(folder[0] / "script.py"), "7", "--its=own", "-x", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {
        "name": "__main__", "argv": ["7", "--its=own", "-x"], "file": str(folder[0] / "script.py"),
        "path": str(folder[0]),
        "torch": "hf_ascend.torch", "model": "hf_ascend.transformers.models.bert.modeling_bert", "grad": True,
        "helper": "hf_ascend.torch", "inner": "hf_ascend.torch", "main": True, "tensor": [2.0, 2.0],
        "extra": "hf_ascend.torch",
    }  # fmt: skip


def test_installed_packages_keep_real_torch_unless_named(folder, tmp_path):
    script = tmp_path / "plain.py"
    script.write_text("import needs_torch\nprint(needs_torch.torch.__name__)\n")
    assert run(folder, str(script)).stdout.strip() == "torch"


def test_module_with_dash_m(folder):
    done = run(folder, "-m", "package", "a", "--help")
    assert (done.stdout.split(), done.returncode) == (["__main__", "package", "hf_ascend.torch", "a", "--help"], 0), (
        done.stderr
    )


def test_installed_module_with_dash_m_is_retargeted(folder, tmp_path):
    done = run(folder, "-m", "needs_torch.tool", cwd=tmp_path)
    assert done.stdout.split() == ["__main__", "hf_ascend.torch"], done.stderr


def test_error_shows_the_scripts_own_files_and_lines(folder):
    done = run(folder, "failing.py")
    assert done.returncode == 1
    at = folder[0]
    assert done.stderr.splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{at}/failing.py", line 3, in <module>',
        "    helper.fail()",
        f'  File "{at}/helper.py", line {1 + HELPER.splitlines().index(RAISE)}, in fail',
        RAISE,
        "ValueError: on purpose",
    ]


def test_syntax_error_shows_its_line(folder):
    done = run(folder, "wrong.py")
    assert done.returncode == 1
    assert f'File "{folder[0]}/wrong.py", line 2' in done.stderr
    assert "SyntaxError" in done.stderr
    assert "hf_ascend" not in done.stderr


def test_sys_exit_with_a_message(folder):
    done = run(folder, "leaves.py")
    assert (done.returncode, done.stderr) == (1, "no reason\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nosuch.py"], "no such file: nosuch.py"),
        (["-m", "no_such_module"], "no module named 'no_such_module'"),
        (["--retarget", "no_such_package", "script.py"], "no such package is installed"),
        (["-m"], "-m needs a name"),
        (["--verbose", "script.py"], "unknown option '--verbose'"),
    ],
)
def test_wrong_command_line_is_one_line_and_exit_code_2(folder, args, message):
    done = run(folder, *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
