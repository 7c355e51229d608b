"""The monitor's numbers in the Trainer's logs, and the report drawn from them."""

import os
import subprocess
import sys
import time

import pytest

import training_common as common
from hf_ascend import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
)
from hf_ascend.training import MonitorCallback, Report, drawing, flops

NUMBERS = {
    "tokens_per_second", "mfu", "time_step", "time_data", "time_forward_backward", "time_optimizer", "peak_memory_gb",
}  # fmt: skip


def logs(trainer: Trainer) -> list[dict]:
    return [h for h in trainer.state.log_history if "loss" in h]


def test_the_monitor_measures_each_part_of_a_step(tmp_path):
    class Slow(Trainer):
        def get_batch_samples(self, *args, **kwargs):
            time.sleep(0.1)
            return super().get_batch_samples(*args, **kwargs)

        def training_step(self, *args, **kwargs):
            time.sleep(0.05)
            return super().training_step(*args, **kwargs)

    class Evaluating(TrainerCallback):
        def on_evaluate(self, *args, **kwargs):
            time.sleep(0.3)

    trainer = common.make(
        tmp_path, Slow, max_steps=4, logging_steps=2, gradient_accumulation_steps=2, eval_strategy="steps",
        eval_steps=1, callbacks=[Evaluating(), MonitorCallback(peak_tflops=1e-6)],
    )  # fmt: skip
    trainer.train()
    _, last = logs(trainer)
    assert last.keys() >= NUMBERS
    assert 0.1 <= last["time_data"] < 0.25  # evaluation is not in it
    assert last["time_forward_backward"] >= 0.1
    assert 0 < last["time_optimizer"] < 0.25
    parts = last["time_data"] + last["time_forward_backward"] + last["time_optimizer"]
    assert last["time_step"] == pytest.approx(parts, rel=2e-3)
    tokens = 2 * 4 * 8  # a step's batches, rows and columns
    assert last["tokens_per_second"] == pytest.approx(tokens / last["time_step"], rel=2e-3)
    operations = flops.Counter(trainer.model).count(8, 8)
    assert last["mfu"] == pytest.approx(operations / last["time_step"] / 1e6, rel=2e-3)
    assert 0.1 < last["peak_memory_gb"] < 20
    assert not any(NUMBERS & h.keys() for h in trainer.state.log_history if "eval_loss" in h)
    assert not trainer.model._forward_pre_hooks


def test_every_reporter_gets_the_numbers_and_results_stay_the_same(tmp_path, monkeypatch):
    plain = common.make(tmp_path)
    plain.train()
    monkeypatch.setenv("HF_ASCEND_MONITOR", "1")
    seen = []

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append(logs)

    watched = common.make(tmp_path, callbacks=[Reporter()])
    watched.train()
    assert seen[0].keys() >= NUMBERS
    assert common.losses(watched) == common.losses(plain)
    assert not NUMBERS & logs(plain)[0].keys()


def llama(**options):
    return LlamaForCausalLM(LlamaConfig(**{**common.CONFIG, **options}))


def test_operations_are_six_for_each_weight_and_token_plus_attention():
    layer = 16 * (16 + 8 + 8) + 16 * 16 + 3 * 16 * 32  # q, k, v, o, and the MLP's three
    norms = 5 * 16
    matrices = 2 * layer + norms + 64 * 16  # the output layer multiplies, the input embedding does not
    attention = 12 * 2 * 16 * 8
    for tied in (True, False):
        counted = flops.Counter(llama(tie_word_embeddings=tied)).count(3, 8)
        assert counted == 3 * 8 * (6 * matrices + attention)
    frozen = llama().requires_grad_(False)
    assert flops.Counter(frozen).count(3, 8) == 3 * 8 * (4 * matrices + attention)


def test_experts_count_as_often_as_a_token_uses_them():
    sizes = {k: v for k, v in common.CONFIG.items() if k != "attention_dropout"}
    counts = [
        flops.Counter(MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=4, num_experts_per_tok=k))).count(
            1, 8
        )
        for k in (1, 2)
    ]
    assert counts[1] - counts[0] == 8 * 6 * 2 * 3 * 16 * 32  # one more MLP in each of two layers


def test_encoder_and_decoder_count_their_own_tokens():
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=64, d_model=16, d_kv=8, num_heads=2, d_ff=32, num_layers=1, num_decoder_layers=1)
    )
    counter = flops.Counter(model)
    assert counter.count(2, 8, 4) < counter.count(2, 8, 8) < counter.count(2, 16, 8)
    decoder = 6 * (8 * 16 * 16 + 2 * 16 * 32 + 4 * 16 + 64 * 16) + 12 * 16 * (4 + 8)
    assert counter.count(1, 8, 4) - counter.count(1, 8, 0) == 4 * decoder


def test_the_peak_is_measured_or_given(monkeypatch, tmp_path):
    assert 1e9 < flops.peak() < 1e13
    monkeypatch.setenv("HF_ASCEND_PEAK_TFLOPS", "2")
    assert MonitorCallback().peak == 2e12


def test_models_of_other_inputs_are_timed_without_tokens(tmp_path):
    config = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    rows = [{"input_ids": [1, 2, 3, 4], "labels": i % 3} for i in range(8)]
    trainer = common.make(
        tmp_path, model=BertForSequenceClassification(config), rows=rows, callbacks=[MonitorCallback()]
    )
    trainer.train()
    assert logs(trainer)[0].keys() >= NUMBERS  # labels that are no sequence

    from hf_ascend import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8)
    config.patch_size = 4
    rows = [{"pixel_values": [[[0.5] * 8] * 8] * 3, "labels": i % 2} for i in range(8)]
    images = common.make(
        tmp_path, model=ViTForImageClassification(config), rows=rows, callbacks=[MonitorCallback()]
    )  # fmt: skip
    images.train()
    found = logs(images)[0].keys()
    assert "time_step" in found
    assert not {"tokens_per_second", "mfu"} & found


@pytest.mark.parametrize("name", ["curves.png", "curves.html"])
def test_a_report_is_one_file_with_every_curve(tmp_path, name):
    pytest.importorskip("matplotlib")
    trainer = common.make(
        tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, callbacks=[Report(tmp_path / name)]
    )
    trainer.train()
    held = (tmp_path / name).read_bytes()
    if name.endswith("png"):
        assert held.startswith(b"\x89PNG")
    else:
        page = held.decode()
        assert "LlamaForCausalLM" in page
        assert page.count("<svg") == 1
        assert "src=" not in page
        assert "4 of 4" in page
    axes = drawing.draw(trainer.state.log_history, "").axes
    assert {a.get_title(): [len(line.get_xdata()) for line in a.lines] for a in axes} == {
        "Loss": [4, 2], "Learning rate": [4], "Gradient norm": [4], "Tokens per second": [4],
    }  # fmt: skip


def test_a_report_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"not '.*x\.pdf'"):
        Report(tmp_path / "x.pdf")
    with pytest.raises(OSError, match="nowhere"):
        Report(tmp_path / "nowhere" / "x.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "matplotlib")
    with pytest.raises(ImportError, match=r"pip install 'hf_ascend\[train\]'"):
        Report(tmp_path / "x.png")


def test_run_report_draws_each_training_of_an_unmodified_script(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "train.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments\n"
        f"rows = {common.ROWS[:8]!r}\n"
        f"model = LlamaForCausalLM(LlamaConfig(**{common.CONFIG!r}))\n"
        "args = TrainingArguments(output_dir='out', max_steps=2, logging_steps=1, report_to=[], save_strategy='no')\n"
        "for _ in range(2):\n"
        "    Trainer(model=model, args=args, train_dataset=rows).train()\n"
    )
    (tmp_path / "other.py").write_text("print('nothing to train')\n")

    def run(*args):
        command = [sys.executable, "-m", "hf_ascend", "run", *args]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, check=False)

    done = run("--report", "out.html", "train.py")
    assert done.returncode == 0, done.stderr
    assert "tokens_per_second" in done.stdout
    assert "<svg" in (tmp_path / "out.html").read_text()
    assert "<svg" in (tmp_path / "out-2.html").read_text()
    wrong = run("--report=out.pdf", "train.py")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "an .html or a .png file" in wrong.stderr
    assert "no Trainer has trained" in run("--report", "none.png", "other.py").stderr
