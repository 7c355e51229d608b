"""Operators give PyTorch's values and gradients, recorded and not, without its help."""

import itertools

import numpy as np
import pytest
import torch

from hf_ascend import runtime
from hf_ascend import torch as htorch


def _draw(*shape):
    return np.random.RandomState(sum(shape) + len(shape)).randn(*shape).astype(np.float32)


def _run(lib, fn, arrays):
    """The recorded result, the unrecorded one, and the gradients; or the kind of error."""
    given = [lib.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    try:
        y = fn(lib, lib.nn.functional, *given)
    except (RuntimeError, ValueError, IndexError) as error:
        return type(error)
    if y.requires_grad:
        (y * y).sum().backward()
    with lib.no_grad():
        again = fn(lib, lib.nn.functional, *given)
    return [np.array(t.detach().numpy()) for t in (y, again, *(g.grad for g in given if g.grad is not None))]


def check(fn, *arrays, tolerance=1e-5, native=True):
    runtime.reset_fallbacks()
    want, got = _run(torch, fn, arrays), _run(htorch, fn, arrays)
    if isinstance(want, type):
        assert isinstance(got, type), f"PyTorch raises {want.__name__}"
        return
    assert not isinstance(got, type), got
    assert not native or not runtime.fallbacks(), runtime.fallbacks()
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert np.isfinite(b).all()
        assert np.allclose(a, b, rtol=10 * tolerance, atol=tolerance * max(1, float(np.abs(b).max()) if b.size else 1))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [*itertools.product((1, 2), (0, 1), (1, 2)), (1, "same", 1), (1, "same", 2)]
)
def test_convolution(stride, padding, dilation, groups):
    check(
        lambda t, f, x, w, b: f.conv2d(x, w, b, stride, padding, dilation, groups),
        _draw(2, 4, 9, 8),
        _draw(8, 4 // groups, 3, 2),
        _draw(8),
    )
    check(
        lambda t, f, x, w, b: f.conv1d(x, w, b, stride, padding, dilation, groups),
        _draw(2, 4, 19),
        _draw(8, 4 // groups, 4),
        _draw(8),
    )


def test_convolution_of_other_shapes_and_its_errors():
    check(lambda t, f, x, w: f.conv2d(x, w, None, (1, 2), (2, 0)), _draw(4, 9, 8), _draw(8, 4, 3, 2))
    check(
        lambda t, f, x, w, b: f.conv3d(x, w, b, stride=(2, 4, 4)), _draw(2, 3, 5, 9, 8), _draw(5, 3, 2, 4, 4), _draw(5)
    )
    check(
        lambda t, f, x, w, b: f.conv3d(x, w, b, padding=1),
        _draw(2, 3, 4, 8, 8),
        _draw(5, 3, 2, 3, 3),
        _draw(5),
        native=False,
    )
    check(
        lambda t, f, x, w: f.conv2d(x.bfloat16(), w.bfloat16()).float(),
        _draw(2, 4, 9, 8),
        _draw(8, 4, 3, 2),
        tolerance=1e-2,
    )
    check(lambda t, f, x, w: f.conv2d(x, w), _draw(2, 4, 9, 8), _draw(8, 3, 3, 2))
    check(lambda t, f, x, w: f.conv2d(x, w), _draw(2, 4, 2, 2), _draw(8, 4, 3, 3))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil"), [*itertools.product((2, 3), (None, 1, 2), (0, 1), (False, True))]
)
def test_pooling(kernel, stride, padding, ceil):
    for n, shape in ((1, (2, 3, 9)), (2, (2, 3, 7, 9)), (3, (2, 3, 5, 6, 7))):
        check(lambda t, f, x, n=n: getattr(f, f"max_pool{n}d")(x, kernel, stride, padding, 1, ceil), _draw(*shape))
        for count in (True, False):
            check(
                lambda t, f, x, n=n, c=count: getattr(f, f"avg_pool{n}d")(x, kernel, stride, padding, ceil, c),
                _draw(*shape),
            )


@pytest.mark.parametrize("size", [1, 2, 3, 4, (3, 5), (None, 2)])
def test_adaptive_pooling(size):
    check(lambda t, f, x: f.adaptive_avg_pool2d(x, size), _draw(2, 3, 4, 7))
    if isinstance(size, int):
        check(lambda t, f, x: f.adaptive_avg_pool1d(x, size), _draw(2, 3, 7))


_RESIZE = [
    *(("nearest", n, {}) for n in (1, 2, 3)),
    *(("nearest-exact", n, {}) for n in (1, 2, 3)),
    *(
        (m, n, {"align_corners": a})
        for m, n in (("linear", 1), ("bilinear", 2), ("bicubic", 2), ("trilinear", 3))
        for a in (False, True)
    ),
]


@pytest.mark.parametrize(("mode", "n", "corners"), _RESIZE)
def test_resampling(mode, n, corners):
    x = _draw(2, 3, *(7, 8, 6)[:n])
    for how in (
        {"scale_factor": 2.0},
        {"scale_factor": 1.7},
        {"scale_factor": 0.6},
        {"size": (5, 9, 3)[:n]},
        {"size": (13, 4, 8)[:n]},
    ):
        check(lambda t, f, x, how=how: f.interpolate(x, mode=mode, **how, **corners), x, tolerance=2e-5)


_ONE = {
    "softmax": lambda t, f, a: a.softmax(0),
    "log_softmax": lambda t, f, a: a.log_softmax(1),
    "cumsum": lambda t, f, a: a.cumsum(1),
    "cumprod": lambda t, f, a: t.cumprod(a, 1),
    "prod": lambda t, f, a: a.prod(1),
    "std": lambda t, f, a: a.std(1),
    "var": lambda t, f, a: a.var(),
    "logsumexp": lambda t, f, a: a.logsumexp(1),
    "max": lambda t, f, a: a.max(1).values,
    "max of all": lambda t, f, a: a.max(),
    "amax": lambda t, f, a: a.amax((0, 1)),
    "amin": lambda t, f, a: a.amin(1),
    "norm": lambda t, f, a: a.norm(dim=1),
    "norm 1": lambda t, f, a: t.linalg.vector_norm(a, 1, dim=0),
    "layer_norm": lambda t, f, a: f.layer_norm(a, (5,)),
    "rms_norm": lambda t, f, a: f.rms_norm(a, (5,)),
    "group_norm": lambda t, f, a: f.group_norm(a.reshape(1, 4, 5), 2),
    "instance_norm": lambda t, f, a: f.instance_norm(a[None]),
    "sort": lambda t, f, a: a.sort(1, descending=True).values,
    "topk": lambda t, f, a: a.topk(2, 1).values,
    "glu": lambda t, f, a: f.glu(a, 0),
    "pad": lambda t, f, a: f.pad(a, (1, 2, 0, 1)),
    "reflect": lambda t, f, a: f.pad(a[None], (1, 2), mode="reflect"),
    "gelu": lambda t, f, a: f.gelu(a),
    "gelu tanh": lambda t, f, a: f.gelu(a, approximate="tanh"),
    "silu": lambda t, f, a: f.silu(a),
    "softplus": lambda t, f, a: f.softplus(a * 30),
    "elu": lambda t, f, a: f.elu(a),
    "selu": lambda t, f, a: f.selu(a),
    "celu": lambda t, f, a: f.celu(a, 1.3),
    "mish": lambda t, f, a: f.mish(a),
    "hardswish": lambda t, f, a: f.hardswish(a * 3),
    "leaky_relu": lambda t, f, a: f.leaky_relu(a),
    "relu6": lambda t, f, a: f.relu6(a * 5),
    "prelu": lambda t, f, a: f.prelu(a, a[0, :1]),
    "clamp": lambda t, f, a: t.clamp(a, min=0.1, max=0.5),
    "erf": lambda t, f, a: a.erf(),
    "einsum": lambda t, f, a: t.einsum("ij,kj->ik", a, a),
    "roll": lambda t, f, a: a.roll(2, 1),
    "flip": lambda t, f, a: a.flip(0),
    "repeat_interleave": lambda t, f, a: a.repeat_interleave(2, 0),
    "repeat": lambda t, f, a: a.repeat(2, 3),
    "tril": lambda t, f, a: a.tril(),
    "kl_div": lambda t, f, a: f.kl_div(a.log_softmax(1), a.softmax(1), reduction="batchmean"),
    "bce": lambda t, f, a: f.binary_cross_entropy_with_logits(a, (a > 0).float()),
    "smooth_l1": lambda t, f, a: f.smooth_l1_loss(a, a.detach() / 2),
    "huber": lambda t, f, a: f.huber_loss(a, a.detach() / 2),
    "im2col": lambda t, f, a: f.unfold(a[None, None], 2, 1, 1),
    "cdist": lambda t, f, a: t.cdist(a, a * 2),
    "cosine": lambda t, f, a: f.cosine_similarity(a, a * a),
    "normalize": lambda t, f, a: f.normalize(a),
    "pixel_shuffle": lambda t, f, a: f.pixel_shuffle(a.reshape(1, 4, 5, 1), 2),
    "windows": lambda t, f, a: a.unfold(1, 2, 2) * 1,
    "weight_norm": lambda t, f, a: t._weight_norm(a, a[:, :1].abs(), 0),
    "logit": lambda t, f, a: a.sigmoid().logit(),
    "logaddexp": lambda t, f, a: t.logaddexp(a, a * 2),
    "xlogy": lambda t, f, a: t.xlogy(a.relu(), a.abs() + 1),
    "trace": lambda t, f, a: a.trace(),
    "diagonal": lambda t, f, a: a.diagonal() * 1,
    "expand": lambda t, f, a: a[None].expand(3, 4, 5) * 1,
    "where": lambda t, f, a: t.where(a > 0, a, a * 2),
}


@pytest.mark.parametrize("name", _ONE)
def test_operator(name):
    check(_ONE[name], _draw(4, 5))


@pytest.mark.parametrize(
    "fn",
    [
        lambda t, f, a: a.norm(dim=1),
        lambda t, f, a: (a * 0).norm() + a.sum(),
        lambda t, f, a: f.normalize(a),
        lambda t, f, a: f.cosine_similarity(a, a * a),
        lambda t, f, a: t.cdist(a, a),
        lambda t, f, a: a.std(1),
    ],
    ids=["norm", "norm of zero", "normalize", "cosine", "cdist", "std"],
)
def test_gradients_at_zero_length_are_zero_not_nan(fn):
    a = _draw(4, 5)
    a[1] = 0
    check(fn, a)


@pytest.mark.parametrize("name", ["unique", "unique_consecutive"])
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_unique(name, dim):
    a = np.random.RandomState(0).randint(0, 3, (6, 3))
    want = getattr(torch, name)(torch.tensor(a), return_inverse=True, return_counts=True, dim=dim)
    got = getattr(htorch, name)(htorch.tensor(a), return_inverse=True, return_counts=True, dim=dim)
    assert [g.tolist() for g in got] == [w.tolist() for w in want]
    assert getattr(htorch, name)(htorch.tensor(a), dim=dim).tolist() == want[0].tolist()


@pytest.mark.parametrize("args", [(7,), (5, -1, 1), (4, 0, 3)])
def test_histc(args):
    a = _draw(40)
    assert htorch.histc(htorch.tensor(a), *args).tolist() == torch.histc(torch.tensor(a), *args).tolist()


def test_nan_to_num():
    a = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)
    for args in ((), (1.0, 2.0, -3.0)):
        assert htorch.nan_to_num(htorch.tensor(a), *args).tolist() == torch.nan_to_num(torch.tensor(a), *args).tolist()


def test_methods_have_torchs_meaning_where_mindspore_has_another():
    x = htorch.arange(6.0).reshape(2, 3)
    t = torch.arange(6.0).reshape(2, 3)
    assert x.unfold(dimension=1, size=2, step=1).tolist() == t.unfold(dimension=1, size=2, step=1).tolist()
    assert x.median(1).values.tolist() == t.median(1).values.tolist()
    assert x.real.tolist() == t.tolist()
    assert x.diag().tolist() == t.diag().tolist()
    assert x.count_nonzero(dim=0).tolist() == t.count_nonzero(dim=0).tolist()


def test_operators_on_meta_tensors_have_shape_and_dtype_and_no_values():
    with htorch.device("meta"):
        x = htorch.arange(6).reshape(2, 3)
        y = (x.float() @ htorch.empty(3, 4)).softmax(-1)[None].expand(5, -1, -1)
        assert x.is_meta
        assert y.is_meta
        assert (tuple(y.shape), y.dtype) == ((5, 2, 4), htorch.float32)
        assert htorch.tensor([1.0]).is_meta
        real = htorch.tensor([1, 2], device="cpu") + 1
    assert real.tolist() == [2, 3]
    assert (y + 1).is_meta
    assert htorch.empty_like(y, device="cpu").device.type == "cpu"
    with pytest.raises(NotImplementedError):
        y.to("cpu")


@pytest.mark.parametrize("name", ["celu", "relu6"])
def test_gradients_where_two_pieces_meet(name):
    check(lambda t, f, x: getattr(f, name)(x) + 1, np.array([-1, 0, 3, 6, 7], np.float32))


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((2, 3), (4,)), ((3,), (2, 1, 2))])
def test_kron(shapes):
    check(lambda t, f, a, b: t.kron(a, b), *(_draw(*s) for s in shapes))


KINKS = {
    "logsigmoid": lambda t, x: t.nn.functional.logsigmoid(x),
    "bce": lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x, t.full_like(x, 0.3)),
    "bce, weighted": lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(
        x, t.full_like(x, 0.3), pos_weight=t.tensor(2.0)
    ),
    "elu": lambda t, x: t.nn.functional.elu(x),
    "selu": lambda t, x: t.nn.functional.selu(x),
    "celu": lambda t, x: t.nn.functional.celu(x),
    "hardtanh": lambda t, x: t.nn.functional.hardtanh(x),
    "hardsigmoid": lambda t, x: t.nn.functional.hardsigmoid(x),
    "hardswish": lambda t, x: t.nn.functional.hardswish(x),
    "relu6": lambda t, x: t.nn.functional.relu6(x),
    "max": lambda t, x: x.abs().max() * 2,
    "min": lambda t, x: x.abs().min(),
    "median": lambda t, x: x.abs().median() * 3,
}


@pytest.mark.parametrize("name", KINKS)
def test_gradients_at_kinks_and_ties_are_torchs(name):
    found = []
    for t in (htorch, torch):
        x = t.tensor([-6.0, -4, -3, -1, -0.5, 0, 0.5, 1, 3, 4, 6, 0], requires_grad=True)
        KINKS[name](t, x).sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found, atol=1e-6)
