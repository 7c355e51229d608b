"""Large recorded operators on the CPU: one node each, with PyTorch's values, gradients and complaints."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch as real

from hf_ascend import runtime
from hf_ascend import torch as ours
from hf_ascend.torch import _fallback, _nodes


@pytest.fixture(autouse=True)
def _every_size(monkeypatch):
    monkeypatch.setattr(_nodes, "LARGE", 0)
    runtime.reset_fallbacks()


def array(seed, *shape):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


CALLS = {
    "linear": lambda t, x, y: t.nn.functional.linear(x, y, y[:, 0]),
    "matmul": lambda t, x, y: x @ y.T,
    "bmm": lambda t, x, y: t.bmm(x[None], y.T[None]),
    "einsum": lambda t, x, y: t.einsum("ij,kj->ik", x, y),
    "silu": lambda t, x, y: t.nn.functional.silu(x),
    "gelu": lambda t, x, y: t.nn.functional.gelu(x) + t.nn.functional.gelu(y, approximate="tanh").sum(),
    "softmax": lambda t, x, y: x.softmax(-1) * t.softmax(y, 0, dtype=t.float32).sum(),
    "log_softmax": lambda t, x, y: t.nn.functional.log_softmax(x, dim=-1),
    "layer_norm": lambda t, x, y: t.nn.functional.layer_norm(x, (4,), y[0], y[1]),
    "activations": lambda t, x, y: t.relu(x) + x.tanh() * t.sigmoid(y.sum()),
    "arithmetic": lambda t, x, y: (2 - x) * y.sum() / (y[0].exp() + 1) - 3 * x / 2 + (-x) + 1 / (x * x + 1),
    "powers": lambda t, x, y: t.rsqrt(x**2 + 1) * x.pow(2).mean(-1, keepdim=True),
    "choice": lambda t, x, y: t.where(x > 0, x, y[0]).masked_fill(x > 1, 0.5),
    "embedding": lambda t, x, y: (
        t.nn.functional.embedding(t.tensor([[1, 0, 1], [2, 1, 0]]), x, padding_idx=0) * y.sum()
    ),
    "cross_entropy": lambda t, x, y: t.nn.functional.cross_entropy(
        x, t.tensor([3, -100, 1]), weight=t.ones(4), reduction="none", label_smoothing=0.1
    ),
    "copies": lambda t, x, y: t.cat((x.clone(), x.T.contiguous().reshape(-1, 4)), dim=0),
}


def test_results_and_gradients_have_pytorchs_strides():
    # Attention gives heads in the order of its arguments' memory, so that joining them again copies nothing.
    found = []
    for t in (ours, real):
        x = t.from_numpy(array(0, 2, 5, 12)).requires_grad_()
        heads = x.view(2, 5, 3, 4).transpose(1, 2)
        heads.retain_grad()
        out = t.nn.functional.scaled_dot_product_attention(t.nn.functional.silu(heads), heads, heads)
        joined = out.transpose(1, 2)
        joined.reshape(2, 5, 12).backward(t.from_numpy(array(1, 2, 5, 12)))
        found.append((out.stride(), joined.is_contiguous(), joined.data_ptr() == out.data_ptr(), heads.grad.stride()))
        found.append((out.detach().numpy(), x.grad.numpy()))
    assert found[0] == found[2]
    for a, b in zip(found[1], found[3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_strided_result_is_written_and_viewed_like_any_other():
    x = ours.from_numpy(array(0, 3, 4)).T.requires_grad_()
    out = ours.nn.functional.silu(x)
    assert out.stride() == (1, 4)
    with ours.no_grad():
        out[0].fill_(7)
        out.add_(1)
    expected = real.nn.functional.silu(real.from_numpy(array(0, 3, 4)).T)
    expected[0] = 7
    np.testing.assert_allclose(out.detach().numpy(), (expected + 1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(out.detach().reshape(-1).numpy(), (expected + 1).reshape(-1).numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_pytorchs(name):
    found = []
    for t in (ours, real):
        x, y = (t.from_numpy(array(i, *s)).requires_grad_() for i, s in enumerate(((3, 4), (5, 4))))
        out = CALLS[name](t, x, y)
        assert out.grad_fn is not None
        out.backward(t.from_numpy(array(9, *out.shape)))
        found.append([out.detach().numpy(), x.grad.numpy(), *([] if y.grad is None else [y.grad.numpy()])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert not runtime.fallbacks()


def test_gradients_of_gradients():
    found = []
    for t in (ours, real):
        x = t.from_numpy(array(0, 3, 4)).requires_grad_()
        (first,) = t.autograd.grad((t.nn.functional.silu(x) ** 2).sum(), x, create_graph=True)
        (second,) = t.autograd.grad((first**2).sum(), x, create_graph=True)
        (third,) = t.autograd.grad(second.sum(), x)
        found.append([g.detach().numpy() for g in (first, second, third)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("which", ["argument", "result"])
def test_overwriting_what_the_gradient_needs_is_an_error(which):
    x = ours.from_numpy(array(0, 3, 4)).requires_grad_()
    argument = x * 1
    result = ours.nn.functional.silu(argument) if which == "argument" else argument.softmax(-1)
    with ours.no_grad():
        (argument if which == "argument" else result).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_overwriting_what_no_gradient_needs_is_none():
    x = ours.from_numpy(array(0, 3, 4)).requires_grad_()
    argument = x * 1
    result = argument + argument
    with ours.no_grad():
        argument.mul_(2)
    result.sum().backward()
    assert x.grad.tolist() == [[2.0] * 4] * 3


def test_a_graph_is_used_twice_only_if_it_was_kept():
    x = ours.from_numpy(array(0, 3, 4)).requires_grad_()
    loss = ours.nn.functional.silu(x).sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert ours.equal(x.grad, once * 2)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_operators_see_tensors_in_any_order_of_memory():
    base = array(0, 6, 4)
    found = []
    for t in (ours, real):
        x = t.from_numpy(base.copy()).requires_grad_()
        out = t.nn.functional.silu(x.T[1:, ::2]) @ x[::2, 1:].T.expand(3, 3)
        out.sum().backward()
        found.append((out.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_numpy_numbers_and_foreign_operands_keep_their_meaning():
    x = ours.from_numpy(array(0, 3, 4)).requires_grad_()
    assert (x * np.float32(2)).dtype is ours.float32
    assert ours.equal(x + np.ones((3, 4), np.float32), x + 1)
    with pytest.raises(TypeError):
        x @ [1, 2, 3, 4]


def test_small_tensors_stay_with_mindspore(monkeypatch):
    monkeypatch.setattr(_nodes, "LARGE", 100)
    used = []
    compute = _fallback.compute
    monkeypatch.setattr(_fallback, "compute", lambda fn, *a, **k: used.append(fn) or compute(fn, *a, **k))
    ours.nn.functional.silu(ours.ones(9, 11, requires_grad=True))
    assert not used
    ours.nn.functional.silu(ours.ones(10, 10, requires_grad=True))
    assert len(used) == 1
    ours.nn.functional.silu(ours.ones(10, 10))
    assert len(used) == 1


@pytest.mark.parametrize(("setting", "told"), [("off", "None"), ("1000", "1000"), ("many", "expected a number")])
def test_the_setting(setting, told):
    code = "from hf_ascend import torch; from hf_ascend.torch import _nodes; print(_nodes.LARGE)"
    env = {**os.environ, "HF_ASCEND_CPU_NODES": setting}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert told in done.stdout + done.stderr


def test_leaves_get_gradients_of_their_own_and_add_to_them():
    """A sum gives both leaves the same gradient, and one leaf may be used by nodes and by MindSpore's operators."""
    found = []
    for t in (ours, real):
        a, b = (t.from_numpy(array(i, 3, 4)).requires_grad_() for i in range(2))
        for _ in range(2):
            ((a + b).sum() + t.nn.functional.silu(a).sum() + a.abs().sum() + t.cumsum(a, 0).sum()).backward()
        b.grad.mul_(2)
        found.append((a.grad.numpy().copy(), b.grad.numpy().copy()))
        a.grad = None
        seed = t.ones(3, 4)
        (a + 1).backward(seed)
        a.grad.mul_(5)
        assert float(seed.sum()) == 12
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)


def test_hooks_of_leaves_see_and_replace_their_gradients():
    found = []
    for t in (ours, real):
        seen = []
        a, b = (t.from_numpy(array(i, 3, 4)).requires_grad_() for i in range(2))
        a.register_hook(lambda g: g * 2)
        b.register_post_accumulate_grad_hook(lambda p, seen=seen: seen.append(p.grad.sum().item()))
        (t.nn.functional.silu(a) * t.nn.functional.gelu(b)).sum().backward()
        found.append((a.grad.numpy(), b.grad.numpy(), np.float32(seen)))
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


THREADS = """
from mindspore.device_context.cpu.op_tuning import threads_num
{before}
from hf_ascend import torch
print(float((torch.ones(3) + 1).sum()))
try:
    threads_num(4)
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("before", ["", "threads_num(3)"])
def test_the_threads_of_mindspores_operators_are_set_once_and_by_the_program_if_it_likes(before):
    code = THREADS.format(before=before)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["6.0", "The 'threads_num' can not be set repeatedly."]
