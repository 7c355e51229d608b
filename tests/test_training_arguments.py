"""Training arguments of other devices: noted once, or refused; TensorBoard's files; the Lion optimizer."""

import logging

import numpy as np
import pytest

import training_common as common
from hf_ascend import Seq2SeqTrainingArguments, torch
from hf_ascend.shims.torch.amp import autocast_mode
from hf_ascend.training import Lion, arguments
from hf_ascend.training.arguments import UnsupportedArgumentError


@pytest.fixture
def notes(caplog, monkeypatch):
    """The notes since the test began; those said in earlier tests can be said again."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(arguments, "_said", set())
    monkeypatch.setattr(autocast_mode, "_said", False)
    return lambda: [r.getMessage() for r in caplog.records]


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_on_the_cpu_trains_in_float32_and_says_so_once(tmp_path, notes, name):
    plain = common.make(tmp_path)
    plain.train()
    assert not notes()
    for _ in range(2):
        half = common.make(tmp_path, **{name: True})
        half.train()
        assert common.losses(half) == common.losses(plain)
    (told,) = notes()
    assert "float32" in told
    assert "Ascend" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tf32": True}, "NVIDIA"),
        ({"use_liger_kernel": True}, "Triton"),
    ],
)
def test_what_changes_no_results_is_noted_once_and_training_goes_on(tmp_path, notes, options, told):
    common.make(tmp_path, **options).train()
    common.arguments(tmp_path, **options)
    assert len(notes()) == 1
    assert told in notes()[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fsdp": "full_shard"}, "over several devices"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "DeepSpeed"),
    ],
)
def test_sharding_over_devices_is_refused_with_the_reason(tmp_path, options, told):
    with pytest.raises(UnsupportedArgumentError, match=told):
        common.arguments(tmp_path, **options)
    with pytest.raises(NotImplementedError, match="gradient checkpointing"):
        Seq2SeqTrainingArguments(output_dir=str(tmp_path), **options)


def test_tensorboard_files_hold_what_the_trainer_logged(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("HF_ASCEND_MONITOR", "1")
    trainer = common.make(tmp_path, report_to=["tensorboard"])
    trainer.train()
    (file,) = (tmp_path / "runs").iterdir()
    raw, found = file.read_bytes(), {}
    while raw:  # a record: length (8 bytes), checksum (4), data, checksum (4)
        length = int.from_bytes(raw[:8], "little")
        event = Event.FromString(raw[12 : 12 + length])
        raw = raw[16 + length :]
        found.update({(v.tag, event.step): v.simple_value for v in event.summary.value})
    for step, loss in common.losses(trainer).items():
        assert found["train/loss", step] == np.float32(loss)
        assert found["train/tokens_per_second", step] > 0
    assert ("args/text_summary", 0) in found


def test_lion_takes_the_papers_steps():
    random = np.random.RandomState(0)
    start, gradients = random.randn(5, 3).astype("f"), random.randn(4, 5, 3).astype("f")
    lr, beta1, beta2, decay = 0.1, 0.9, 0.99, 0.3
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = Lion([p], lr=lr, betas=(beta1, beta2), weight_decay=decay)
    want, m = start.astype("f8"), np.zeros_like(start, "f8")
    for step, g in enumerate(gradients):
        p.grad = torch.tensor(g)
        if step == 2:  # goes on from its saved state
            saved = optimizer.state_dict()
            optimizer = Lion([p], lr=1.0)
            optimizer.load_state_dict(saved)
        optimizer.step()
        want = want * (1 - lr * decay) - lr * np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        np.testing.assert_allclose(p.detach().numpy(), want, atol=1e-6)
    with pytest.raises(ValueError, match="betas in"):
        Lion([p], betas=(0.9, 1.0))


@pytest.mark.parametrize("name", ["lion_32bit", "paged_lion_32bit"])
def test_the_trainer_takes_lion_with_its_arguments(tmp_path, name):
    trainer = common.make(tmp_path, optim=name, adam_beta1=0.8, adam_beta2=0.95, weight_decay=0.1, learning_rate=1e-3)
    trainer.train()
    lion = trainer.optimizer.optimizer
    assert isinstance(lion, Lion)
    assert lion.defaults["betas"] == (0.8, 0.95)
    assert {g["weight_decay"] for g in lion.param_groups} == {0.1, 0.0}
    assert common.losses(trainer)[3] < common.losses(trainer)[1] + 0.1


def test_other_optimizers_of_bitsandbytes_say_why_not(tmp_path):
    with pytest.raises(UnsupportedArgumentError, match=r'optim="paged_adamw_8bit" .*CUDA.*"adamw_torch"'):
        common.make(tmp_path, optim="paged_adamw_8bit").train()


def columns(library, folder, **options):
    """What a Trainer's first batch holds, of a dataset with a column that no model knows; or the error it gives."""
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{**row, "topic": "none", "score": 1.0} for row in common.ROWS[:4]])
    if options.pop("strangers", False):
        rows = rows.rename_columns({"input_ids": "words", "labels": "answers"})
    model = library.LlamaForCausalLM(library.LlamaConfig(**common.CONFIG))
    args = library.TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], **options)
    trainer = library.Trainer(model=model, args=args, train_dataset=rows)
    try:
        return sorted(next(iter(trainer.get_train_dataloader())))
    except (ValueError, TypeError) as error:
        return type(error).__name__, str(error).replace("hf_ascend.", "")


@pytest.mark.parametrize("options", [{}, {"strangers": True}, {"label_names": ["score"]}], ids=str)
def test_columns_that_the_model_does_not_know_are_dropped_or_refused_as_upstream_does(tmp_path, options):
    import transformers

    import hf_ascend

    ours = columns(hf_ascend, tmp_path, **options)
    assert ours == columns(transformers, tmp_path, **options)
    expected = {"strangers": "ValueError", "label_names": "score"}
    assert not options or expected[next(iter(options))] in ours
