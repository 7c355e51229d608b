"""torch_compile=True: MindSpore graphs in training, with eager training's losses and weights, and notes where not."""

import logging

import numpy as np
import pytest

import training_common as common
from hf_ascend import LlamaConfig, LlamaForCausalLM, set_seed
from hf_ascend.training import arguments, captured


@pytest.fixture
def notes(caplog, monkeypatch):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(arguments, "_said", set())
    return lambda: [r.getMessage() for r in caplog.records]


@pytest.fixture
def graphs(monkeypatch):
    """The graphs' calls: how often each object was called."""
    seen: dict = {}
    call = captured.Graph.__call__

    def counted(self, tensors):
        seen[self] = seen.get(self, 0) + 1
        return call(self, tensors)

    monkeypatch.setattr(captured.Graph, "__call__", counted)
    return seen


def model(dropout=0.0):
    set_seed(3)
    return LlamaForCausalLM(LlamaConfig(**{**common.CONFIG, "attention_dropout": dropout}))


def test_captured_training_gives_the_losses_and_weights_of_eager_training(tmp_path, notes, graphs):
    options = {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "max_steps": 4}
    eager = common.make(tmp_path, model=model(), **options)
    eager.train()
    assert not graphs
    graph = common.make(tmp_path, model=model(), torch_compile=True, **options)
    graph.train()
    assert list(graphs.values()) == [8]
    assert len(notes()) == 1
    assert "MindSpore graphs" in notes()[0]
    for (step, a), (again, b) in zip(common.losses(eager).items(), common.losses(graph).items(), strict=True):
        assert step == again
        assert b == pytest.approx(a, rel=1e-5)
    for name, value in common.weights(eager).items():
        np.testing.assert_allclose(common.weights(graph)[name], value, rtol=1e-3, atol=1e-5)
    assert "forward" not in vars(graph.model)


class Looking(LlamaForCausalLM):
    """Its forward looks at a value, which a graph does not have."""

    def forward(self, input_ids=None, labels=None, **kwargs):
        if float(input_ids.float().mean()) < -1:
            raise ValueError("negative tokens")
        return super().forward(input_ids=input_ids, labels=labels, **kwargs)


def test_what_cannot_be_captured_trains_eagerly_and_is_noted(tmp_path, notes):
    def looking():
        set_seed(3)
        return Looking(LlamaConfig(**common.CONFIG))

    eager = common.make(tmp_path, model=looking())
    eager.train()
    graph = common.make(tmp_path, model=looking(), torch_compile=True)
    graph.train()
    assert common.losses(graph) == common.losses(eager)
    assert sum("cannot be captured" in n for n in notes()) == 1


def test_dropout_draws_other_masks_at_each_step_of_a_graph(tmp_path, notes, graphs):
    rows = common.ROWS[:4] * 3  # the same batch at every step
    graph = common.make(tmp_path, model=model(0.5), rows=rows, torch_compile=True, learning_rate=0.0, max_steps=3)
    graph.train()
    assert list(graphs.values()) == [3]
    assert len(set(common.losses(graph).values())) == 3
    assert not any("cannot be captured" in n for n in notes())


def test_batches_of_many_shapes_end_the_making_of_graphs(tmp_path, notes, graphs, monkeypatch):
    monkeypatch.setattr(captured, "MOST", 1)
    rows = [
        {"input_ids": r["input_ids"][:n], "labels": r["labels"][:n]}
        for r, n in zip(common.ROWS[:8], [8, 6] * 4, strict=True)
    ]
    graph = common.make(
        tmp_path, model=model(), rows=rows, torch_compile=True, per_device_train_batch_size=1, max_steps=6
    )
    graph.train()
    assert 0 < sum(graphs.values()) < 6
    assert any("Pad batches" in n for n in notes())
