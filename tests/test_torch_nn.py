"""torch.nn and torch.optim over MindSpore cells, held against real torch."""

import copy
import pickle

import mindspore
import numpy as np
import pytest
import torch as real

from hf_ascend import torch


def net(t):
    t.manual_seed(0)
    return t.nn.Sequential(
        t.nn.Embedding(11, 8, padding_idx=0),
        t.nn.LayerNorm(8),
        t.nn.Linear(8, 8),
        t.nn.GELU(),
        t.nn.Linear(8, 3, bias=False),
    )


def test_a_module_is_a_cell_and_mindspore_sees_its_parameters():
    model = net(torch)
    assert isinstance(model, mindspore.nn.Cell)
    names = [n for n, _ in model.named_parameters()]
    assert [n for n, _ in model.parameters_and_names()] == names == list(model.state_dict())
    assert len({p.name for p in model.get_parameters()}) == len(names)


def test_mindspore_saves_and_loads_a_module(tmp_path):
    a, b = net(torch), net(torch)
    for p in b.parameters():
        p.data.zero_()
    mindspore.save_checkpoint(a, str(tmp_path / "m.ckpt"))
    mindspore.load_param_into_net(b, mindspore.load_checkpoint(str(tmp_path / "m.ckpt")))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert (p.detach().numpy() == q.detach().numpy()).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda t, p: t.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda t, p: t.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        lambda t, p: t.optim.Adam(p, lr=0.01, amsgrad=True),
        lambda t, p: t.optim.RMSprop(p, lr=0.01),
        lambda t, p: t.optim.Adagrad(p, lr=0.1),
    ],
)
def test_training_follows_real_torch_step_for_step(optimizer):
    def run(t):
        model = net(t)
        step = optimizer(t, model.parameters())
        schedule = t.optim.lr_scheduler.LinearLR(step, total_iters=4)
        ids, labels = t.arange(10).reshape(2, 5), t.tensor([[0, 1, 2, 0, -100], [1, 1, 2, 0, 2]])
        losses = []
        for _ in range(5):
            loss = t.nn.functional.cross_entropy(model(ids).reshape(-1, 3), labels.reshape(-1), label_smoothing=0.1)
            step.zero_grad()
            loss.backward()
            t.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            step.step()
            schedule.step()
            losses.append(loss.item())
        return losses, [p.detach().numpy() for p in model.parameters()]

    (losses, weights), (losses_real, weights_real) = run(torch), run(real)
    np.testing.assert_allclose(losses, losses_real, rtol=1e-5)
    assert losses[-1] < losses[0]
    for a, b in zip(weights, weights_real, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)


def test_state_dicts_travel_and_mismatches_are_named():
    a, b = net(torch), net(torch)
    state = {k: torch.as_tensor(v.numpy()) for k, v in net(real).state_dict().items()}
    assert a.load_state_dict(state).missing_keys == []
    with pytest.raises(RuntimeError, match="2.weight"):
        b.load_state_dict({k: v for k, v in state.items() if k != "2.weight"})
    with pytest.raises(RuntimeError, match="size mismatch for 2.weight"):
        b.load_state_dict({**state, "2.weight": torch.zeros(1, 1)})


def test_hooks_buffers_and_apply():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    seen = []
    forward = model[0].register_forward_hook(lambda m, i, o: seen.append("forward"))
    before = model[0].register_forward_pre_hook(lambda m, i: (i[0] * 0,))
    full = model[0].register_full_backward_hook(lambda m, gi, go: seen.append("backward"))
    out = model(torch.randn(3, 2))
    out.sum().backward()
    assert seen == ["forward", "backward"]
    for handle in (forward, before, full):
        handle.remove()
    model(torch.randn(3, 2))
    assert seen == ["forward", "backward"]
    assert [n for n, _ in model.named_buffers()] == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert model[1].num_batches_tracked.item() == 2
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen[2:] == ["Linear", "BatchNorm1d", "Sequential"]
    assert not model.eval()[1].training
    assert model.train()[1].training


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(2)])
        self.heads = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 1)})
        self.scales = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(1))])
        self.register_buffer("offset", torch.zeros(1), persistent=False)
        self.shard = torch.nn.Linear(1, 1)  # the name of a method of Cell
        self.phase = "any"  # the name of a property of Cell

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.heads["a"](x) * self.scales[0] + self.offset


def test_containers_and_attributes():
    model = Model()
    assert isinstance(model.shard, torch.nn.Linear)
    assert model.phase == "any"
    assert "offset" not in model.state_dict()
    assert "scales.0" in model.state_dict()
    assert "shard.weight" in model.state_dict()
    assert model(np.ones((3, 2), np.float32)).shape == (3, 1)
    twin = pickle.loads(pickle.dumps(model))
    other = copy.deepcopy(model)
    x = torch.randn(2, 2)
    for m in (twin, other):
        assert (m(x).detach().numpy() == model(x).detach().numpy()).all()
        assert isinstance(m, mindspore.nn.Cell)
        assert len(m.trainable_params()) == len(list(model.parameters()))
    del model.shard
    assert "shard.weight" not in model.state_dict()


@pytest.mark.parametrize("kind", ["real torch", "numpy", "mindspore"])
def test_calls_accept_foreign_tensors(kind):
    layer = torch.nn.Linear(2, 3)
    a = np.ones((1, 2), np.float32)
    x = {"real torch": real.from_numpy(a), "numpy": a, "mindspore": mindspore.Tensor(a)}[kind]
    before = type(x)
    assert layer(x).shape == (1, 3)
    assert type(x) is before


def test_to_half_and_back():
    layer = torch.nn.Linear(2, 2)
    assert layer.half().weight.dtype is torch.float16
    assert layer.float().weight.dtype is torch.float32
    assert layer.to("cuda").weight.device == torch.zeros(1).device
    assert layer.to(torch.bfloat16).weight.dtype is torch.bfloat16


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.nn.LSTM(3, 4, batch_first=True),
        lambda t: t.nn.GRU(3, 4, batch_first=True, bidirectional=True),
        lambda t: t.nn.MultiheadAttention(3, 3, batch_first=True),
        lambda t: t.nn.TransformerEncoderLayer(3, 3, 8, batch_first=True, dropout=0.0),
    ],
)
def test_larger_layers_of_torch_run_and_train(make):
    def run(t):
        t.manual_seed(1)
        layer = make(t)
        x = t.arange(30.0).reshape(2, 5, 3) / 10
        out = layer(x, x, x) if isinstance(layer, t.nn.MultiheadAttention) else layer(x)
        out = out[0] if isinstance(out, tuple) else out
        (out * out).sum().backward()
        return [out.detach().numpy()] + [p.grad.numpy() for p in layer.parameters()]

    for a, b in zip(run(torch), run(real), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_weight_parametrisations():
    def run(t):
        t.manual_seed(0)
        layer = t.nn.utils.parametrizations.weight_norm(t.nn.Linear(3, 2))
        layer(t.ones(1, 3)).sum().backward()
        return [p.grad.numpy() for p in layer.parameters()]

    for a, b in zip(run(torch), run(real), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_data_loaders_give_standin_tensors():
    data = torch.utils.data.TensorDataset(torch.arange(6.0).reshape(6, 1), torch.arange(6))
    batches = list(torch.utils.data.DataLoader(data, batch_size=4))
    assert isinstance(batches[0][0], torch.Tensor)
    assert batches[0][0].shape == (4, 1)
    assert batches[1][1].tolist() == [4, 5]
