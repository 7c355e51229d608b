"""Nodes whose gradient is a formula: PyTorch's values and gradients, of any order, and its complaints."""

import gc
import weakref

import numpy as np
import pytest
import torch as real

from hf_ascend import kernels, runtime
from hf_ascend import torch as ours
from hf_ascend.torch import _fallback, _formulas, _nodes


@pytest.fixture(autouse=True)
def formulas(monkeypatch):
    """Every size is a node; gives the count of those made by formula."""
    monkeypatch.setattr(_nodes, "LARGE", 0)
    made, apply = [], _fallback.apply_formula
    monkeypatch.setattr(_fallback, "apply_formula", lambda call, *a: made.append(call.fn) or apply(call, *a))
    return made


def array(seed, *shape):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def turn(x, cos, sin, style):
    """The rotation in PyTorch's own operators, on the first lanes of `x`."""
    r = cos.shape[-1]
    lanes, rest = x[..., :r], x[..., r:]
    if style == "half":
        turned = real.cat((-lanes[..., r // 2 :], lanes[..., : r // 2]), -1)
    else:
        turned = real.stack((-lanes[..., 1::2], lanes[..., 0::2]), -1).flatten(-2)
    return real.cat((lanes * cos + turned * sin, rest), -1)


def rotated(t, style, x, key, cos, sin):
    if t is ours:
        a, b = kernels.rotary(x, key, cos, sin, style=style)
    else:
        a, b = (turn(v, cos, sin, style) for v in (x, key))
    return t.cat((a.flatten(), 2 * b.flatten()))


def normed(t, x, weight):
    return (
        kernels.rms_norm(x, weight, eps=1e-5) if t is ours else t.nn.functional.rms_norm(x, x.shape[-1:], weight, 1e-5)
    )


CASES = {
    "linear": (lambda t, x, w, b: t.nn.functional.linear(x, w, b), ((2, 3, 4), (5, 4), (5,))),
    "linear without bias": (lambda t, x, w: t.nn.functional.linear(x, w), ((3, 4), (5, 4))),
    "linear of a transposed input": (lambda t, x, w: t.nn.functional.linear(x.transpose(0, 1), w), ((2, 3, 4), (5, 4))),
    "linear, gradient transposed": (lambda t, x, w: t.nn.functional.linear(x, w).mT, ((2, 3, 4), (5, 4))),
    "rms_norm": (normed, ((2, 3, 8), (8,))),
    "rms_norm of a transposed input": (lambda t, x, w: normed(t, x.transpose(0, 1), w), ((2, 3, 8), (8,))),
    "rotary": (
        lambda t, q, k, c, s: rotated(t, "half", q, k, c, s), ((2, 3, 5, 8), (2, 1, 5, 8), (1, 1, 5, 8), (1, 1, 5, 8)),
    ),
    "rotary of neighbours, in part": (
        lambda t, q, k, c, s: rotated(t, "pairs", q, k, c, s), ((2, 3, 5, 8), (2, 1, 5, 8), (5, 6), (5, 6)),
    ),
    "rotary of transposed heads": (
        lambda t, q, k, c, s: rotated(t, "half", q.transpose(1, 2), k.transpose(1, 2), c, s),
        ((2, 5, 3, 8), (2, 5, 1, 8), (2, 1, 5, 4), (2, 1, 5, 4)),
    ),
}  # fmt: skip


def trained(name, arguments):
    """Which arguments have gradients: the angles of a rotation have none."""
    return arguments[:2] if name.startswith("rotary") else arguments


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorchs(name, formulas):
    fn, shapes = CASES[name]
    found = []
    for t in (ours, real):
        arguments = [t.from_numpy(array(i, *s)) for i, s in enumerate(shapes)]
        for x in trained(name, arguments):
            x.requires_grad_()
        out = fn(t, *arguments)
        out.backward(t.from_numpy(array(9, *out.shape)))
        found.append([out.detach().numpy(), *(x.grad.numpy() for x in trained(name, arguments))])
    assert formulas, "computed by another way than the formula"
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    assert not runtime.fallbacks()


@pytest.mark.parametrize("name", ["linear", "rms_norm", "rotary"])
@pytest.mark.parametrize("only", [0, 1])
def test_one_argument_alone_is_trained(name, only):
    fn, shapes = CASES[name]
    found = []
    for t in (ours, real):
        arguments = [t.from_numpy(array(i, *s)) for i, s in enumerate(shapes)]
        arguments[only].requires_grad_()
        fn(t, *arguments).square().sum().backward()
        assert all(x.grad is None for i, x in enumerate(arguments) if i != only)
        found.append(arguments[only].grad.numpy())
    np.testing.assert_allclose(*found, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["linear", "rms_norm", "rotary"])
def test_gradients_of_gradients(name):
    fn, shapes = CASES[name]
    found = []
    for t in (ours, real):
        arguments = [t.from_numpy(array(i, *s)) for i, s in enumerate(shapes)]
        x, y = (a.requires_grad_() for a in arguments[:2])
        first = t.autograd.grad(fn(t, *arguments).square().sum(), (x, y), create_graph=True)
        (first[0].square().sum() + first[1].sum()).backward()
        found.append([g.detach().numpy() for g in (*first, x.grad, y.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_key_without_gradient_stays_without():
    q, k, cos, sin = (ours.from_numpy(array(i, *s)) for i, s in enumerate(CASES["rotary"][1]))
    turned = kernels.rotary(q.requires_grad_(), k, cos, sin)
    assert [x.requires_grad for x in turned] == [True, False]


def test_angles_that_are_trained_get_their_gradient(formulas):
    found = []
    for t in (ours, real):
        q, k, cos, sin = (t.from_numpy(array(i, *s)).requires_grad_() for i, s in enumerate(CASES["rotary"][1]))
        rotated(t, "half", q, k, cos, sin).square().sum().backward()
        found.append([x.grad.numpy() for x in (q, k, cos, sin)])
    assert not formulas
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_overwriting_what_the_gradient_needs_is_an_error():
    x, w = ours.from_numpy(array(0, 3, 4)).requires_grad_(), ours.from_numpy(array(1, 5, 4)).requires_grad_()
    hidden = x * 1
    out = ours.nn.functional.linear(hidden, w)
    with ours.no_grad():
        hidden.mul_(2)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: argument 0 of linear, of shape \[3"):
        out.sum().backward()


def test_overwriting_what_a_frozen_weight_makes_needless_is_none():
    x, w = ours.from_numpy(array(0, 3, 4)).requires_grad_(), ours.from_numpy(array(1, 5, 4))
    hidden = x * 1
    out = ours.nn.functional.linear(hidden, w)
    with ours.no_grad():
        hidden.mul_(2)
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(w.numpy().sum(0), (3, 4)), rtol=1e-6)


def test_a_graph_is_used_twice_only_if_it_was_kept():
    x, w = ours.from_numpy(array(0, 3, 4)).requires_grad_(), ours.from_numpy(array(1, 5, 4)).requires_grad_()
    loss = ours.nn.functional.linear(x, w).sum()
    loss.backward(retain_graph=True)
    once = w.grad.clone()
    loss.backward()
    np.testing.assert_array_equal(w.grad.numpy(), 2 * once.numpy())
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_a_graph_that_is_not_used_is_freed_with_its_result():
    x, w = ours.from_numpy(array(0, 3, 4)).requires_grad_(), ours.from_numpy(array(1, 5, 4)).requires_grad_()
    hidden = ours.nn.functional.linear(x, w)
    out = kernels.rms_norm(hidden, ours.ones(5))
    seen = weakref.ref(hidden)
    gc.disable()
    try:
        del hidden, out
        assert seen() is None
    finally:
        gc.enable()


def test_tensors_by_keyword_go_another_way(formulas):
    found = []
    for t in (ours, real):
        x, w, b = (t.from_numpy(array(i, *s)).requires_grad_() for i, s in enumerate(((3, 4), (5, 4), (5,))))
        t.nn.functional.linear(x, bias=b, weight=w).square().sum().backward()
        found.append([v.grad.numpy() for v in (x, w, b)])
    assert not formulas
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_formula_is_pytorchs_function_where_nothing_is_recorded():
    x, w = real.from_numpy(array(0, 3, 4)), real.from_numpy(array(1, 5, 4))
    np.testing.assert_array_equal(_formulas.LINEAR(x, w).numpy(), real.nn.functional.linear(x, w).numpy())
