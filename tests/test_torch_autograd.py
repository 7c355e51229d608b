"""Autograd of the stand-in, held against real torch."""

import mindspore
import numpy as np
import pytest
import torch as real

from hf_ascend import torch
from hf_ascend.torch.utils.checkpoint import checkpoint


def close(a, b):
    np.testing.assert_allclose(np.asarray(a.detach()), b.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_grad_accumulates_over_backward_calls():
    def run(t):
        x = t.tensor([1.0, 2.0], requires_grad=True)
        (x * x).sum().backward()
        (x + x).sum().backward()
        return x.grad

    close(run(torch), run(real))


def test_leaves_that_get_the_same_gradient_do_not_share_it():
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    (x + y).sum().backward()
    x.grad.mul_(5)
    assert y.grad.tolist() == [1, 1, 1]
    assert x.grad.tolist() == [5, 5, 5]


def test_grad_can_be_cleared_assigned_and_is_one_object():
    x = torch.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    assert x.grad is x.grad
    x.grad.zero_()
    assert x.grad.tolist() == [0, 0]
    x.grad = None
    assert x.grad is None
    x.grad = torch.full((2,), 4.0)
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="different size"):
        x.grad = torch.ones(3)


def test_autograd_grad_and_second_derivatives():
    def run(t):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = (x**3).sum()
        (g,) = t.autograd.grad(y, x, create_graph=True)
        (gg,) = t.autograd.grad(g.sum(), x)
        return gg

    close(run(torch), run(real))


def test_gradients_of_a_tensor_and_of_what_it_comes_from():
    def run(t):
        x = t.tensor([1.0, 2.0], requires_grad=True)
        y = x * 3
        gx, gy = t.autograd.grad((y * y).sum(), (x, y))
        return t.cat([gx, gy])

    close(run(torch), run(real))


def test_unused_inputs_need_permission():
    x, y = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad((x * 2).sum(), (x, y))
    assert torch.autograd.grad((x * 2).sum(), (x, y), allow_unused=True)[1] is None


def test_errors_are_torchs():
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (torch.ones(2, requires_grad=True) * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(1).sum().backward()
    z = (torch.ones(2, requires_grad=True) ** 2).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="second time"):
        z.backward()
    x = torch.ones(2, requires_grad=True)  # an error leaves recording intact
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_no_grad_enable_grad_inference_mode_and_detach():
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            assert (x * 2).requires_grad
    with torch.inference_mode():
        assert not (x * 2).requires_grad
    assert not x.detach().requires_grad
    assert (x * 2).requires_grad

    @torch.no_grad()
    def quiet():
        return x * 2

    @torch.no_grad
    def quiet_too():
        return x * 2

    assert not quiet().requires_grad
    assert not quiet_too().requires_grad
    assert torch.is_grad_enabled()
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_detach_shares_memory():
    x = torch.zeros(3, requires_grad=True)
    x.detach()[1] = 5
    assert x.tolist() == [0, 5, 0]
    x.data = torch.ones(3)
    assert x.tolist() == [1, 1, 1]
    assert x.requires_grad


def test_hooks_see_and_change_gradients():
    def run(t):
        seen = []
        x = t.ones(2, requires_grad=True)
        y = x * 2
        handle = y.register_hook(lambda g: g * 10)
        x.register_hook(lambda g: seen.append(g.tolist()))
        y.retain_grad()
        y.sum().backward()
        handle.remove()
        (x * 1).sum().backward()
        return x.grad, seen

    (got, seen), (want, seen_real) = run(torch), run(real)
    close(got, want)
    assert seen == seen_real


def test_retain_grad_keeps_the_gradient_of_an_intermediate():
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6, 6]


def test_custom_functions():
    def run(t):
        class Cube(t.autograd.Function):
            @staticmethod
            def forward(ctx, x, scale):
                ctx.save_for_backward(x)
                ctx.scale = scale
                return x * x * x * scale, x.sum()

            @staticmethod
            def backward(ctx, g, g_sum):
                (x,) = ctx.saved_tensors
                assert ctx.needs_input_grad == (True, False)
                return g * 3 * x * x * ctx.scale + g_sum, None

        x = t.tensor([1.0, 2.0], requires_grad=True)
        cubed, total = Cube.apply(x, 2.0)
        (cubed.sum() + 5 * total).backward()
        return x.grad

    close(run(torch), run(real))


def test_checkpointing_gives_the_gradients_of_the_plain_run_also_with_dropout():
    from hf_ascend.torch.utils.checkpoint import checkpoint

    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Tanh())
    x = torch.randn(3, 4, requires_grad=True)
    found = []
    for run in (layer, lambda v: checkpoint(layer, v, use_reentrant=False)):
        layer.zero_grad()
        x.grad = None
        torch.manual_seed(3)
        run(x).sum().backward()
        found.append([x.grad.clone(), layer[0].weight.grad.clone(), layer[0].bias.grad.clone()])
    for a, b in zip(*found, strict=True):
        assert b.abs().sum() > 0
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_mindspores_functional_gradient_works_on_a_module_and_recording_goes_on():
    layer = torch.nn.Linear(3, 2)
    x = torch.randn(4, 3)
    loss, grads = mindspore.value_and_grad(lambda v: (layer(v) ** 2).sum(), None, layer.trainable_params())(x)
    (layer(x) ** 2).sum().backward()
    np.testing.assert_allclose(grads[0].asnumpy(), layer.weight.grad.numpy(), rtol=1e-5)
    np.testing.assert_allclose(grads[1].asnumpy(), layer.bias.grad.numpy(), rtol=1e-5)
    assert [p.name for p in layer.trainable_params()] == ["weight", "bias"]
    assert loss.item() > 0


SELECTIONS = {
    "product": lambda t, e, w: e @ w,
    "linear": lambda t, e, w: t.nn.functional.linear(e, w, w[:, 0]) + 1,
    "batched": lambda t, e, w: t.bmm(w[None][:0], w.T[None][:0]),
    "inner dimension": lambda t, e, w: w[:, :0] @ w.T[:0],
    "slices": lambda t, e, w: w[:0] * w[2:2] + w.narrow(0, 1, 0),
    "pieces": lambda t, e, w: e.split(2, -1)[1] + e.chunk(2, -1)[0],
    "expanded": lambda t, e, w: w[:, :1].expand(4, 4)[:0],
    "joined": lambda t, e, w: t.cat([e, w]),
    "joined, all empty": lambda t, e, w: t.cat([e, w[:0]]),
    "stored": lambda t, e, w: put(t, e, lambda base, keys: base.__setitem__(keys, e)),
    "added": lambda t, e, w: put(t, e, lambda base, keys: base.__setitem__(keys, base[keys].__iadd__(e))),
    "in place": lambda t, e, w: e.mul_(2),
    "loss": lambda t, e, w: t.nn.functional.mse_loss(e, t.zeros(0, 4), reduction="sum"),
}


def put(t, e, write):
    base = t.zeros(5, 4)
    write(base, t.zeros(5, dtype=t.bool))
    return base


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_without_elements_has_a_gradient_of_zeros(name):
    # An expert that no token was sent to, an adapter that is active nowhere.
    for t in (torch, real):
        w = t.ones(4, 4).requires_grad_()
        e = t.nn.functional.linear(t.ones(5, 4)[t.zeros(5, dtype=t.bool)], w)
        assert e.requires_grad
        out = SELECTIONS[name](t, e, w)
        assert out.requires_grad
        (out.sum() + e.sum()).backward()
        found = w.grad.numpy()
        if t is torch:
            ours, shape = found, tuple(out.shape)
        else:
            np.testing.assert_array_equal(ours, found)
            assert shape == tuple(out.shape)


def test_masks_and_indices_among_the_results_of_a_node_require_no_gradient():
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, mask):
            return x * 2, x > 0, mask

        @staticmethod
        def backward(ctx, g, *none):
            return g * 2, None

    x = torch.tensor([1.0, -1.0], requires_grad=True)
    results = Both.apply(x, torch.tensor([True, False]))
    assert [r.requires_grad for r in results] == [True, False, False]
    again = checkpoint(lambda x, mask: (x * 2, x.argmax(), mask), x, results[2], use_reentrant=True)
    assert [r.requires_grad for r in again] == [True, False, False]
    checkpoint(lambda x, mask: x * mask, *again[::2], use_reentrant=True).sum().backward()
    assert x.grad.tolist() == [2, 0]


def test_a_bias_that_alone_is_trained_has_a_gradient():
    def run(t):
        bias = t.zeros(4, requires_grad=True)
        t.nn.functional.linear(t.ones(2, 3), t.ones(4, 3), bias).sum().backward()
        return bias.grad

    close(run(torch), run(real))
