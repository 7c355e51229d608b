"""What a Trainer says about losses that are not finite, and about memory that runs out."""

import gc
import logging

import numpy as np
import pytest

import training_common as common
from hf_ascend import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, torch
from hf_ascend.training import NonFiniteCallback
from hf_ascend.training.memory import TrainingOutOfMemoryError, is_out_of_memory
from hf_ascend.training.nonfinite import NonFiniteLossError


class Broken(LlamaForCausalLM):
    """Its second layer's MLP overflows in step 2."""

    def __init__(self, config):
        super().__init__(config)
        self.calls = 0
        self.model.layers[1].mlp.down_proj.register_forward_hook(self.spoil)

    def forward(self, *args, **kwargs):
        self.calls += self.training and torch.is_grad_enabled()
        return super().forward(*args, **kwargs)

    def spoil(self, module, args, output):
        return output * float("inf") if self.calls == 2 else None


def test_a_loss_that_is_not_finite_names_step_and_module(tmp_path):
    trainer = common.make(tmp_path, model=Broken(LlamaConfig(**common.CONFIG)), callbacks=[NonFiniteCallback("error")])
    with pytest.raises(NonFiniteLossError, match=r"loss of step 2 is nan: .* model\.layers\.1\.mlp\.down_proj's \(Lin"):
        trainer.train()


def test_a_weight_that_is_not_finite_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ASCEND_NAN", "error")
    trainer = common.make(tmp_path)
    with torch.no_grad():
        trainer.model.model.layers[0].self_attn.q_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"step 1 .*its parameter model\.layers\.0\.self_attn\.q_proj\.weight"):
        trainer.train()


def test_a_loss_function_and_a_batch_that_are_not_finite_are_named(tmp_path):
    class Negative(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return torch.log(super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch) * 0 - 1)

    with pytest.raises(NonFiniteLossError, match="comes from the loss function"):
        common.make(tmp_path, Negative, callbacks=[NonFiniteCallback()]).train()
    rows = [{"inputs_embeds": np.full((4, 16), np.nan, "float32"), "labels": [1, 2, 3, 4]}] * 4
    with pytest.raises(NonFiniteLossError, match="holds NaN in 'inputs_embeds'"):
        common.make(tmp_path, rows=rows, callbacks=[NonFiniteCallback()]).train()


def test_a_warning_goes_on_with_the_same_training_as_without_it(tmp_path, monkeypatch, caplog):
    class Infinite(Trainer):
        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            return loss + float("inf") if self.state.global_step == 1 else loss

    plain = common.make(tmp_path, Infinite)
    plain.train()
    assert not [r for r in caplog.records if r.name == "hf_ascend"]
    monkeypatch.setenv("HF_ASCEND_NAN", "warn")
    warned = common.make(tmp_path, Infinite)
    warned.train()
    told = [r.getMessage().split(":")[0] for r in caplog.records if r.name == "hf_ascend"]
    assert told == ["The loss of step 2 is inf"]
    assert common.losses(warned) == common.losses(plain)  # dropout drew the same numbers


def test_an_unknown_action_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ASCEND_NAN", "maybe")
    with pytest.raises(ValueError, match="HF_ASCEND_NAN='maybe'"):
        common.make(tmp_path).train()
    with pytest.raises(ValueError, match="'maybe'"):
        NonFiniteCallback("maybe")


class Greedy(LlamaForCausalLM):
    """Has memory for one row."""

    def forward(self, input_ids=None, **kwargs):
        if len(input_ids) > 1:
            raise MemoryError("Unable to allocate 3.64 TiB")
        return super().forward(input_ids=input_ids, **kwargs)


def test_out_of_memory_says_what_to_turn_on(tmp_path):
    with pytest.raises(MemoryError) as caught:
        common.make(tmp_path, model=Greedy(LlamaConfig(**common.CONFIG))).train()
    assert isinstance(caught.value, torch.OutOfMemoryError)
    assert repr(caught.value.__cause__) == "MemoryError('Unable to allocate 3.64 TiB')"
    told = str(caught.value)
    assert "step 1: Unable to allocate 3.64 TiB" in told
    for advice in ("gradient_checkpointing", "per_device_train_batch_size=2 with gradient_accumulation_steps=2"):
        assert advice in told
    model = Greedy(LlamaConfig(**common.CONFIG))
    trainer = common.make(tmp_path, model=model, gradient_checkpointing=True, optim="adafactor")
    with pytest.raises(TrainingOutOfMemoryError) as caught:
        trainer.train()
    assert "_checkpointing" not in str(caught.value)
    assert "adafactor" not in str(caught.value)


def test_auto_find_batch_size_takes_memory_errors_for_what_they_are(tmp_path):
    trainer = common.make(tmp_path, model=Greedy(LlamaConfig(**common.CONFIG)), auto_find_batch_size=True)
    trainer.train()
    assert trainer.state.train_batch_size == 1


def test_allocations_that_fail_are_recognised_and_other_errors_left_alone(tmp_path):
    column, row = torch.ones(10**8, 1), torch.ones(1, 10**8)
    for run in (lambda: torch.empty(10**15), lambda: column.detach().requires_grad_() + row):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            run()
        assert is_out_of_memory(caught.value)

    class Wrong(LlamaForCausalLM):
        def forward(self, **kwargs):
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="^shapes differ$"):
        common.make(tmp_path, model=Wrong(LlamaConfig(**common.CONFIG))).train()


class Frozen(TrainerCallback):
    """Notes how many objects collection passes over, and may fail."""

    def __init__(self, fails):
        self.fails, self.counts = fails, []

    def on_step_end(self, args, state, control, **kwargs):
        self.counts.append(gc.get_freeze_count())
        if self.fails:
            raise KeyError("a callback's error")


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_collection_passes_over_what_was_there_before_as_long_as_training_runs(tmp_path, fails):
    callback = Frozen(fails)
    trainer = common.make(tmp_path, callbacks=[callback])
    if fails:
        with pytest.raises(KeyError, match="a callback's error"):
            trainer.train()
    else:
        trainer.train()
    assert min(callback.counts) > 10_000
    assert gc.get_freeze_count() == 0


def test_objects_frozen_by_the_program_stay_so(tmp_path):
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        common.make(tmp_path).train()
        assert 0.9 * before < gc.get_freeze_count() <= before
    finally:
        gc.unfreeze()


@pytest.fixture(autouse=True)
def _warnings(caplog):
    caplog.set_level(logging.WARNING, "hf_ascend")
