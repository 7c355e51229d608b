"""Autograd of the stand-in, held against real torch."""

import mindspore
import numpy as np
import pytest
import torch as real

from hf_ascend import torch


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
