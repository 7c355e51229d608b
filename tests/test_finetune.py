"""examples/finetune.py: LoRA training on MindSpore whose files give the same answers in real transformers and peft."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

import tiny

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CHATML = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' [SEP] ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)
STEPS = 3


def script(*arguments, code=0):
    """Run the script; what it wrote to both streams."""
    command = [sys.executable, str(EXAMPLES / "finetune.py"), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    tokens = {"vocab_size": max(tiny.VOCABULARY.values()) + 1, "eos_token_id": 3, "pad_token_id": 0}
    config = transformers.LlamaConfig(**{**tiny.SMALL, **tokens}, num_key_value_heads=1)
    tokenizer = tiny.word_tokenizer(causal=True)
    tokenizer.chat_template = CHATML
    return tiny.save(tmp_path_factory.mktemp("base"), transformers.LlamaForCausalLM(config), tokenizer)


@pytest.fixture(scope="module")
def out(base, tmp_path_factory):
    for name in ("peft", "datasets", "matplotlib"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("out")
    assert "identical" in script("--model", base, "--out", folder, "--steps", STEPS, "--rows", 4, "--rate", 0.3)
    return folder


def test_answers_are_identical_in_real_transformers(out):
    report, theirs = json.loads((out / "report.json").read_text()), json.loads((out / "reference.json").read_text())
    assert report["identical"]
    assert len(theirs["merged"]) == 4
    assert all(theirs["merged"])
    for which in ("adapter", "merged"):
        assert report["answers"][which] == theirs[which]
    assert report["answers"]["merged"] != report["answers"]["before"]


def test_figures_and_picture(out):
    report = json.loads((out / "report.json").read_text())
    assert report["steps"] == STEPS
    assert report["tokens_per_second"] > 0
    assert report["held_out_loss"][1] != report["held_out_loss"][0]
    assert report["fallbacks"] == {}
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_adapter_merged_by_real_peft_is_the_merged_model(base, out):
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    merged = peft.PeftModel.from_pretrained(model, out / "adapter").merge_and_unload().state_dict()
    ours = transformers.AutoModelForCausalLM.from_pretrained(out / "merged").state_dict()
    plain = transformers.AutoModelForCausalLM.from_pretrained(base).state_dict()
    assert merged.keys() == ours.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, merged[name], rtol=1e-5, atol=1e-6)
        assert ("proj" in name) != torch.equal(value, plain[name]), name


def test_only_the_answer_is_labelled(base):
    sys.path.insert(0, str(EXAMPLES))
    try:
        import finetune
    finally:
        sys.path.remove(str(EXAMPLES))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    talk = [{"role": "user", "content": "is it red"}, {"role": "assistant", "content": "it is blue"}]
    encoded = finetune.encode(tokenizer, talk)
    counted = [i for i in encoded["labels"] if i != -100]
    assert tokenizer.decode(counted) == "it is blue [SEP]"
    assert len(encoded["labels"]) == len(encoded["input_ids"])
    tokenizer.chat_template = "{{ messages | length }} {{ messages[-1]['content'] }}"
    with pytest.raises(ValueError, match="answer cannot be told apart"):
        finetune.encode(tokenizer, talk)


def test_missing_packages_are_named(base, tmp_path):
    hide = "import sys; sys.modules.update(peft=None, datasets=None); sys.argv = sys.argv[1:]\n"
    hide += "import importlib.util, runpy; find = importlib.util.find_spec\n"
    hide += "importlib.util.find_spec = lambda name, *a: None if name in ('peft', 'datasets') else find(name, *a)\n"
    hide += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", hide, str(EXAMPLES / "finetune.py"), "--model", str(base), "--out", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(EXAMPLES)}, timeout=60
    )
    assert done.returncode == 1
    assert "datasets, peft" in done.stderr
    assert "hf_ascend[train,demo]" in done.stderr


def test_data_is_what_its_script_writes():
    spec = importlib.util.spec_from_file_location("make_instructions", EXAMPLES / "data" / "make_instructions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.FILE.read_text(encoding="utf-8") == module.text()
    asked = {
        split: {r["messages"][0]["content"] for r in module.rows() if r["split"] == split}
        for split in ("train", "test")
    }
    assert (len(asked["train"]), len(asked["test"])) == (288, 96)
    assert not asked["train"] & asked["test"]
