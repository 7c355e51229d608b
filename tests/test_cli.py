"""The command line: what is printed, which errors are one line, and that `env` survives what is missing."""

import json
import os
import subprocess
import sys

import pytest
import transformers
from typer.testing import CliRunner

import tiny
from hf_ascend.cli.app import app
from hf_ascend.runtime import environment


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A causal model without a chat template."""
    return tiny.causal_lm(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    """A causal model with a chat template."""
    return tiny.causal_lm(tmp_path_factory.mktemp("chatty") / "model", chat=True)


def invoke(*args, stdin=None):
    return CliRunner().invoke(app, [str(a) for a in args], input=stdin, env={"COLUMNS": "200"})


def expected(folder, prompt, tokens, **options):
    """What real transformers answers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    if isinstance(prompt, str):
        inputs = {k: v for k, v in tokenizer(prompt, return_tensors="pt").items() if k != "token_type_ids"}
    else:
        inputs = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        inputs = {k: v for k, v in inputs.items() if k != "token_type_ids"}
    out = model.generate(**inputs, max_new_tokens=tokens, **options)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_generate_prints_what_transformers_answers(plain, stream):
    done = invoke("generate", "--model", plain, "the cat sat", "--max-new-tokens", 7, "--greedy", stream)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == expected(plain, "the cat sat", 7, do_sample=False).strip()


def test_generate_reads_the_prompt_from_standard_input_and_uses_the_chat_template(chatty):
    done = invoke(
        "generate", "--model", chatty, "--greedy", "--max-new-tokens", 6, "--system", "red", stdin="the cat\n"
    )
    messages = [{"role": "system", "content": "red"}, {"role": "user", "content": "the cat"}]
    assert done.stdout.strip() == expected(chatty, messages, 6, do_sample=False).strip()
    raw = invoke("generate", "--model", chatty, "--greedy", "--max-new-tokens", 6, "--raw", "the cat")
    assert raw.stdout.strip() == expected(chatty, "the cat", 6, do_sample=False).strip()


def test_generate_with_beams(plain):
    done = invoke("generate", "--model", plain, "a dog", "--num-beams", 3, "--greedy", "--max-new-tokens", 6)
    assert done.stdout.strip() == expected(plain, "a dog", 6, num_beams=3, do_sample=False).strip()


def test_sampling_is_repeatable_with_a_seed_and_differs_without_it(plain):
    base = ("generate", "--model", plain, "a dog", "--temperature", 2.5, "--top-k", 0, "--max-new-tokens", 12)
    outputs = [invoke(*base, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_chat_keeps_the_conversation(chatty):
    done = invoke(
        "chat", "--model", chatty, "--greedy", "--max-new-tokens", 5, stdin="the cat\na dog\n/clear\nthe cat\n/exit\n"
    )
    assert done.exit_code == 0, done.output
    first = expected(chatty, [{"role": "user", "content": "the cat"}], 5, do_sample=False)
    history = [
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "a dog"},
    ]
    second = expected(chatty, history, 5, do_sample=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip() and not line.startswith(("/clear", "["))]
    assert lines == [t.strip() for t in (first, second, first)]
    assert done.stdout.count("tokens/s") == 3


def test_chat_needs_a_template(plain):
    done = invoke("chat", "--model", plain)
    assert done.exit_code == 1
    assert "no chat template; use `hf-ascend generate`" in done.stderr


def test_wrong_input_is_one_line_without_a_traceback(tmp_path, plain):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "llama"')
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.json").write_text('{"model_type": "no_such_type"}')
    for args, message in (
        (("--model", tmp_path / "nowhere", "x"), "nowhere: no such file or folder"),
        (("--model", "./nowhere", "x"), "no such file or folder"),
        (("--model", tmp_path / "notes.txt", "x"), "expected a model's folder"),
        (("--model", tmp_path, "x"), "neither a config.json nor a .gguf file"),
        (("--model", tmp_path / "broken", "x"), "config.json"),
        (("--model", tmp_path / "strange", "x"), "no_such_type"),
        (("--model", plain, "--gguf-file", "a.gguf", "x"), "a.gguf: no such file"),
        (("--model", plain, ""), "the prompt is empty"),
        (("--model", plain, "x", "--dtype", "int3"), "--dtype int3"),
        (("--model", plain, "x", "--greedy", "--top-k", 3), "--greedy contradicts --top-k"),
        (("--model", plain, "x", "--system", "y"), "--system needs a chat template"),
    ):
        done = invoke("generate", *args)
        assert done.exit_code == 1, (args, done.output, done.exception)
        assert message in done.stderr, (args, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("hf-ascend: error: ")]
        assert len(errors) == 1
        assert "Traceback" not in done.output


def test_two_gguf_files_must_be_told_apart(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    done = invoke("generate", "--model", tmp_path, "x")
    assert "choose one with --gguf-file: a.gguf, b.gguf" in done.stderr


def test_hub_id_offline_is_one_line(tmp_path):
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "hf_ascend", "generate", "--model", "nobody/nothing", "x"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nobody/nothing" in done.stderr.splitlines()[-1]


# ---- env


def test_env_reports_this_machine():
    report = json.loads(invoke("env", "--json").stdout)
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["packages"]["transformers"] == transformers.__version__
    assert report["device"] == "CPU"
    assert report["tested"] == (report["untested"] == [])
    table = invoke("env").stdout
    assert transformers.__version__ in table
    assert "no Ascend NPU" in table or "HF_ASCEND_DEVICE" in table


def test_env_survives_a_wrong_device_setting_and_missing_packages(monkeypatch):
    monkeypatch.setenv("HF_ASCEND_DEVICE", "gpu")
    environment.choose_device.cache_clear()
    monkeypatch.setattr(environment, "version_of", lambda name: None)
    try:
        found = environment.report()
    finally:
        environment.choose_device.cache_clear()
    assert found.device is None
    assert "HF_ASCEND_DEVICE='gpu'" in found.device_why
    assert not found.tested
    assert "mindspore is not installed" in found.untested


@pytest.mark.parametrize(
    ("versions", "tested"),
    [
        ({"mindspore": "2.10.3", "transformers": "5.23.1", "torch": "2.13.0+cpu"}, True),
        ({"mindspore": "2.9.0", "transformers": "5.23.1", "torch": "2.13.0"}, False),
        ({"mindspore": "2.10.0", "transformers": "5.2.3", "torch": "2.13.0"}, False),
    ],
)
def test_tested_combinations_compare_whole_numbers(versions, tested):
    assert (environment._untested({"python": "3.11.9", **versions}, "CPU", None) == ()) is tested


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("version.cfg", "# version: 1.0\nruntime_running_version=[8.5.0:8.5.0.1]\n", "8.5.0.1"),
        ("version.info", "Version=8.5.0\nversion_dir=8.5.0\n", "8.5.0"),
        ("version.info", "nothing here", None),
    ],
)
def test_cann_version_is_read_from_its_files(tmp_path, file, text, version):
    (tmp_path / file).write_text(text)
    assert environment.cann_version(tmp_path) == version


def test_an_ascend_device_is_never_called_tested():
    found = {"python": "3.11.9", "mindspore": "2.10.0", "transformers": "5.23.0", "torch": "2.13.0"}
    assert "CPU only" in environment._untested(found, "Ascend", "8.5.0")[0]
