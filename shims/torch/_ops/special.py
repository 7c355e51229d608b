"""Operators that are compositions of others, and the counting ones: unique values, histograms."""

import math
from typing import Any

from .. import _dtypes
from .._ms import ON_CPU, mint
from ._common import from_numpy, is_tensor, memory, np, op, ops, raw_shape, wrap
from .neural import _within


@op("xlogy", "special.xlogy")
def xlogy(input: Any, other: Any) -> Any:
    """input * log(other), zero where the input is zero (NaN where `other` is)."""
    x = input if is_tensor(input) else other * 0 + input
    y = other if is_tensor(other) else x * 0 + other
    zero = (x == 0) & ~y.isnan()
    return (x * y.masked_fill(zero, 1).log()).masked_fill(zero, 0)


@op("logit", "special.logit")
def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), x limited to [eps, 1 - eps]."""
    x = input if eps is None else input.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()


@op("log10")
def log10(input: Any) -> Any:
    """The logarithm to base 10."""
    return input.log() / math.log(10)


@op("frac")
def frac(input: Any) -> Any:
    """The part behind the point, with the sign of the input."""
    return input - input.trunc()


@op("nan_to_num")
def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and infinities as numbers: 0 and the dtype's limits unless given."""
    if not input.dtype.is_floating_point:
        return input.clone()
    limits = _dtypes.finfo(input.dtype)
    x = input.masked_fill(input.isnan(), nan or 0.0)
    x = x.masked_fill(input == math.inf, limits.max if posinf is None else posinf)
    return x.masked_fill(input == -math.inf, limits.min if neginf is None else neginf)


@op("isclose")
def isclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """|a - b| <= atol + rtol |b|; equal infinities are close."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    a, b = input.detach(), other.detach()
    if not ON_CPU:
        return mint.isclose(a, b, rtol, atol, equal_nan)
    return from_numpy(np.asarray(np.isclose(memory(a), memory(b), rtol, atol, equal_nan)))


@op("allclose")
def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close."""
    return bool(wrap(isclose.impls["any"](input, other, rtol, atol, equal_nan)).all())


@op("trace")
def trace(input: Any) -> Any:
    """The sum of the diagonal of a matrix."""
    if len(raw_shape(input)) != 2:
        raise RuntimeError("trace: expected a matrix")
    return input.diagonal().sum()


@op("count_nonzero")
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are not zero, over `dim` (all when None); int64."""
    return (input.detach() != 0).sum(dim)


@op("logaddexp")
def logaddexp(input: Any, other: Any) -> Any:
    """log(exp(a) + exp(b)), without overflow."""
    top = wrap(ops.maximum(input.detach(), other.detach()))
    top = top.masked_fill(top.abs() == math.inf, 0)
    return ((input - top).exp() + (other - top).exp()).log() + top


@op("histc")
def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements fall into each of `bins` equal parts of [min, max] (the data's range when both are equal)."""
    if not ON_CPU:
        return mint.histc(input, bins, min, max)
    if not input.dtype.is_floating_point:
        raise NotImplementedError("histc of integers, which PyTorch's CPU does not have either")
    a = memory(input.detach()).reshape(-1)
    low, high = float(min), float(max)
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise RuntimeError(f"range of [{low}, {high}] is not finite" if low <= high else "max must be larger than min")
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    kind = a.dtype.type
    a = a[(a >= low) & (a <= high)]
    # PyTorch's arithmetic, in the tensor's dtype: which bin an element at a border falls into depends on it.
    at = ((a - kind(low)) * kind(bins) / (kind(high) - kind(low))).astype(np.int64)
    return from_numpy(np.bincount(np.minimum(at, bins - 1), minlength=bins).astype(kind))


def _unique_along(x: Any, dim: int | None, consecutive: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, inverse, counts)."""
    a = memory(x.detach())
    if dim is None or not a.ndim:
        inverse_shape, a, axis = a.shape, a.reshape(-1), 0
    else:
        axis = dim % a.ndim
        inverse_shape = (a.shape[axis],)
    if not consecutive:
        values, inverse, counts = np.unique(a, axis=axis, return_inverse=True, return_counts=True)
        return values, inverse.reshape(inverse_shape), counts
    n = a.shape[axis]
    rows = np.moveaxis(a, axis, 0).reshape(n, -1)
    first = np.ones(n, bool)
    first[1:] = (rows[1:] != rows[:-1]).any(1)
    starts = np.flatnonzero(first)
    return np.take(a, starts, axis), (np.cumsum(first) - 1).reshape(inverse_shape), np.diff(np.r_[starts, n])


def _unique(name: str, consecutive: bool) -> None:
    def impl(input: Any, *args: Any, **kwargs: Any) -> Any:
        names = (
            ("return_inverse", "return_counts", "dim")
            if consecutive
            else ("sorted", "return_inverse", "return_counts", "dim")
        )
        given = dict(zip(names, args, strict=False)) | kwargs
        if not ON_CPU:
            return getattr(mint, name)(input, **given)
        values, inverse, counts = _unique_along(input, given.get("dim"), consecutive)
        out = [from_numpy(np.ascontiguousarray(values))]
        if given.get("return_inverse"):
            out.append(from_numpy(np.asarray(inverse.astype(np.int64), order="C")))
        if given.get("return_counts"):
            out.append(from_numpy(np.ascontiguousarray(counts.astype(np.int64))))
        return out[0] if len(out) == 1 else tuple(out)

    impl.__doc__ = (
        "The values without "
        + ("repeats in a row." if consecutive else "repeats, sorted.")
        + " With inverse and counts (int64) if asked."
    )
    op(name)(impl)


_unique("unique_consecutive", consecutive=True)
_unique("unique", consecutive=False)


# ---- further activations and losses
def _piecewise(positive: Any, x: Any, other: Any) -> Any:
    return wrap(ops.where(positive, x, other))


@op("selu")
def selu(input: Any) -> Any:
    """scale * elu(x, alpha), with the constants that keep mean and variance (arXiv:1706.02515)."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return (input.relu() + input.clamp(max=0).expm1() * alpha) * scale


@op("celu")
def celu(input: Any, alpha: float = 1.0) -> Any:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    return input.relu() + (input.clamp(max=0) / alpha).expm1() * alpha  # of the two, one has a gradient at zero


@op("_C._nn.relu6")
def relu6(input: Any) -> Any:
    """Limited to [0, 6]."""
    return _within(input, 0, 6)


@op("prelu")
def prelu(input: Any, weight: Any) -> Any:
    """x above zero, weight * x below; one weight, or one per channel."""
    rank = len(raw_shape(input))
    w = weight.reshape(()) if weight.numel() == 1 else weight.reshape([-1 if i == 1 else 1 for i in range(rank)])
    return _piecewise(input.detach() > 0, input, input * w)


def _mean_or(loss: Any, reduction: int) -> Any:
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


@op("kl_div")
def kl_div(input: Any, target: Any, reduction: int = 1, *, log_target: bool = False) -> Any:
    """target * (log(target) - input), for log probabilities `input`."""
    loss = target.exp() * (target - input) if log_target else wrap(xlogy.impls["any"](target, target)) - target * input
    return _mean_or(loss, reduction)


@op("_C._nn.huber_loss")
def huber_loss(input: Any, target: Any, reduction: int = 1, delta: float = 1.0) -> Any:
    """Quadratic below `delta`, linear above."""
    d = (input - target).abs()
    return _mean_or(_piecewise(d.detach() < delta, d * d * 0.5, (d - 0.5 * delta) * delta), reduction)


@op("instance_norm")
def instance_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool,
    momentum: float, eps: float, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    """Normalisation of each channel of each image (arXiv:1607.08022)."""
    if input.dtype.itemsize < 4:  # as torch: statistics of half precision are float32
        rest = (weight, bias, running_mean, running_var, use_input_stats, momentum, eps)
        return instance_norm.impl(input.float(), *rest).to(input.dtype)
    rank = len(raw_shape(input))
    over, shape = tuple(range(2, rank)), (1, -1) + (1,) * (rank - 2)
    if running_mean is not None and use_input_stats:
        raise NotImplementedError("instance_norm that updates running statistics")
    if use_input_stats:
        centred = input - input.mean(over, True)
        scale = ((centred * centred).mean(over, True) + eps).rsqrt()
    else:
        centred, scale = input - running_mean.reshape(shape), (running_var + eps).rsqrt().reshape(shape)
    y = centred * scale
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


@op("cdist")
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """The p-norm of all differences of rows: (..., P, M), (..., R, M) to (..., P, R)."""
    from .reduction import vector_norm

    return wrap(vector_norm.impls["any"](x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1))


@op("kron")
def kron(input: Any, other: Any) -> Any:
    """The Kronecker product; the shorter shape is filled with ones in front."""
    rank = max(len(raw_shape(input)), len(raw_shape(other)))
    left, right = ([1] * (rank - len(raw_shape(x))) + list(raw_shape(x)) for x in (input, other))
    product = input.reshape([n for size in left for n in (size, 1)]) * other.reshape([n for s in right for n in (1, s)])
    return product.reshape([a * b for a, b in zip(left, right, strict=True)])
