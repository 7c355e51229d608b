"""Reductions and scans."""

import collections
from collections.abc import Callable
from typing import Any

from .. import _dtypes
from .._ms import ON_CPU, MsFunction, TensorPy, mint
from ._common import capturing, cast, dims, from_numpy, host, memory, np, on_host, op, ops, raw_shape, readable, wrap

MaxResult = collections.namedtuple("max", ["values", "indices"])
MinResult = collections.namedtuple("min", ["values", "indices"])
_LARGE = 1 << 18


def _accumulate(x: Any, dtype: Any) -> Any:
    """Sums of bool and integers are int64 unless a dtype is given."""
    if dtype is not None:
        return cast(x, _dtypes.as_dtype(dtype))
    return x if x.dtype.is_floating_point or x.dtype.is_complex else cast(x, _dtypes.int64)


def _host_reduce(fn: Callable, x: Any, over: tuple[int, ...], keepdim: bool) -> Any:
    """A numpy reduction; half precision is accumulated in float32, as PyTorch does. No warnings about overflow."""
    dtype = x.dtype.np
    if dtype != np.float16 and 0 not in raw_shape(x):
        return from_numpy(np.asarray(fn(memory(x), axis=over, keepdims=keepdim, dtype=dtype)))
    with np.errstate(all="ignore"):
        a = fn(memory(x), axis=over, keepdims=keepdim, dtype=np.float32 if dtype == np.float16 else dtype)
    return from_numpy(np.asarray(a).astype(dtype, copy=False))


@op("sum")
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum over `dim` (all when None)."""
    x = _accumulate(input, dtype)
    over = dims(dim, len(raw_shape(x)))
    if host(x) and x.numel() < _LARGE:
        return _host_reduce(np.sum, x, over, keepdim)
    if not raw_shape(x):
        return x * 1
    if ON_CPU and 0 in raw_shape(x):  # MindSpore's sum of nothing is not zero
        from .spectral import _Linear

        whole = tuple(raw_shape(x))
        kept = tuple(1 if i in over else s for i, s in enumerate(whole))
        return _Linear.apply(
            x,
            lambda a: np.sum(a, axis=over, keepdims=keepdim, dtype=a.dtype),
            lambda g: np.broadcast_to(g.reshape(kept), whole),
        )
    return mint.sum(x, over, keepdim)


@op("mean")
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean over `dim` (all when None)."""
    x = input if dtype is None else cast(input, _dtypes.as_dtype(dtype))
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex "
            f"dtype. Got: {x.dtype}"
        )
    over = dims(dim, len(raw_shape(x)))
    if host(x) and x.numel() < _LARGE:
        return _host_reduce(np.mean, x, over, keepdim)
    if not raw_shape(x):
        return x * 1
    if 0 in raw_shape(x):
        return wrap(sum.impls["any"](x, over, keepdim)) / _count(x, over)
    return mint.mean(x, over, keepdim)


def _count(x: Any, over: tuple[int, ...]) -> int:
    n = 1
    for d in over:
        n *= raw_shape(x)[d] if raw_shape(x) else 1
    return n


@op("var")
def var(input: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Any:
    """The variance; `correction` 1 (unbiased) divides by n - 1."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = (1 if unbiased else 0) if correction is None else correction
    over = dims(dim, len(raw_shape(input)))
    if host(input) and input.numel() < _LARGE:
        with np.errstate(all="ignore"):
            return from_numpy(
                np.asarray(np.var(memory(input), axis=over, keepdims=keepdim, ddof=correction).astype(input.dtype.np))
            )
    centred = input - wrap(mint.mean(input, over, True))
    total = wrap(mint.sum(wrap(centred * centred), over, keepdim))
    return total / max(_count(input, over) - correction, 0)


@op("std")
def std(input: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Any:
    """The square root of `var`."""
    return _root(wrap(var.impls["any"](input, dim, unbiased, keepdim, correction=correction)))


@op("var_mean")
def var_mean(
    input: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
) -> Any:
    """(variance, mean)."""
    return (
        var.impls["any"](input, dim, unbiased, keepdim, correction=correction),
        mean.impls["any"](input, None if isinstance(dim, bool) else dim, keepdim),
    )


def among_equals(flat: Any, at: int) -> Any:
    """Element `at` of a vector; all elements that equal it share its gradient, as in torch's max() and median()."""
    a = memory(flat.detach())
    equal = np.flatnonzero(a == a[at])
    if equal.size < 2:
        return flat[at]
    mean = flat[wrap(from_numpy(equal))].mean()
    return mean - mean.detach() + flat.detach()[at]


def _extremum(name: str, np_fn: Callable, np_arg: Callable, result: Any, pair: str) -> None:
    def impl(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        from . import pointwise

        if not isinstance(input, TensorPy):
            raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")
        if isinstance(dim, TensorPy) or other is not None:
            return getattr(pointwise, pair).impls["any"](input, dim if other is None else other)
        x = input
        if dim is None:
            if host(x):
                return from_numpy(np.asarray(np_fn(memory(x))))
            if capturing():
                return getattr(mint, "a" + name)(x, tuple(range(len(raw_shape(x)))))
            flat = x.reshape(-1)
            return among_equals(flat, int(np_arg(memory(flat.detach())))) if x.numel() else np_fn(memory(x))
        (d,) = dims(dim, len(raw_shape(x)))
        if not raw_shape(x):
            return result(x.clone(), from_numpy(np.zeros((), np.int64)))
        if not readable(x):
            index = wrap(ops.cast(getattr(ops, "arg" + name)(x, d, True), _dtypes.int64.ms))
            values = x.gather(d, index)
            return result(*((values, index) if keepdim else (values.squeeze(d), index.squeeze(d))))
        a = memory(x.detach())
        at = np_arg(a, axis=d)
        index = np.expand_dims(at, d)
        indices = wrap(from_numpy(np.ascontiguousarray(index if keepdim else at)))
        if host(x):
            values = np.take_along_axis(a, index, d)
            return result(wrap(from_numpy(np.ascontiguousarray(values if keepdim else np.squeeze(values, d)))), indices)
        values = wrap(x).gather(d, wrap(from_numpy(np.ascontiguousarray(index))))
        return result(values if keepdim else values.squeeze(d), indices)

    impl.__doc__ = f"The {name}imum of all elements, or (values, indices) along `dim`, or of two tensors."
    op(name, device="cpu")(impl).on("npu")(_npu_extremum(name, result, pair))


def _npu_extremum(name: str, result: Any, pair: str) -> Callable:
    fn = getattr(mint, name)

    def impl(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if dim is None and other is None:
            return fn(input)
        if not isinstance(dim, int):
            return getattr(mint, pair)(input, dim if other is None else other)
        return result(*fn(input, dim, keepdim))

    return impl


_extremum("max", np.max, np.argmax, MaxResult, "maximum")
_extremum("min", np.min, np.argmin, MinResult, "minimum")


def _arg(name: str, np_fn: Callable) -> None:
    def impl(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        x = input.detach()
        if capturing() and not host(x):
            x, d = (x, dim) if dim is not None else (x.reshape(-1), 0)
            return ops.cast(getattr(ops, name)(x, d, keepdim and dim is not None), _dtypes.int64.ms)
        if not host(x):
            return getattr(mint, name)(x, dim, keepdim) if dim is not None else getattr(mint, name)(x)
        if dim is None:
            return from_numpy(np.asarray(np_fn(memory(x))).astype(np.int64))
        (d,) = dims(dim, len(raw_shape(x)))
        at = np_fn(memory(x), axis=d) if raw_shape(x) else np.zeros((), np.int64)
        return from_numpy(np.asarray(np.expand_dims(at, d) if keepdim and raw_shape(x) else at).astype(np.int64))

    impl.__doc__ = f"The index of the {name[3:]}imum, int64."
    op(name)(impl)


_arg("argmax", np.argmax)
_arg("argmin", np.argmin)


def _am(name: str, np_fn: Callable) -> None:
    def impl(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        over = dims(dim, len(raw_shape(input)))
        if host(input):
            return from_numpy(np.asarray(np_fn(memory(input), axis=over, keepdims=keepdim)))
        return getattr(mint, name)(input, over, keepdim)

    impl.__doc__ = f"The {name[1:]}imum over `dim`; ties share the gradient."
    op(name)(impl)


_am("amax", np.max)
_am("amin", np.min)


def _truth_reduction(name: str, np_fn: Callable, ms_fn: Callable) -> None:
    def impl(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        x = cast(input.detach(), _dtypes.bool)
        over = dims(dim, len(raw_shape(x)))
        if host(x):
            return from_numpy(np.asarray(np_fn(memory(x), axis=over, keepdims=keepdim)))
        return ms_fn(x, over, keepdim)

    impl.__doc__ = f"Whether {name} elements are non-zero, over `dim` (all when None)."
    op(name)(impl)


_truth_reduction("all", np.all, ops.all)
_truth_reduction("any", np.any, ops.any)


@op("prod")
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product over `dim` (all when None)."""
    x = _accumulate(input, dtype)
    over = dims(dim, len(raw_shape(x)))
    if host(x):
        return _host_reduce(np.prod, x, over, keepdim)
    if 0 in raw_shape(x):  # the product of nothing is one
        return x.sum(over, keepdim) + 1
    return mint.prod(x) if dim is None else mint.prod(x, over[0], keepdim)


@op("cumsum")
def cumsum(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """Running sums along `dim`."""
    x = _accumulate(input, dtype)
    (d,) = dims(dim, len(raw_shape(x)))
    if host(x):
        return from_numpy(
            np.asarray(np.cumsum(memory(x), axis=d, dtype=x.dtype.np) if raw_shape(x) else memory(x).copy())
        )
    return ops.cumsum(x, d)


class _CumProd(MsFunction):
    """cumprod with a gradient that does not divide, and so holds where elements are zero."""

    @staticmethod
    def forward(ctx: Any, x: Any, d: int) -> Any:
        ctx.d = d
        ctx.save_for_backward(x)
        return from_numpy(np.cumprod(memory(x), axis=d, dtype=memory(x).dtype))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, g = np.moveaxis(memory(ctx.saved_tensors[0]), ctx.d, 0), np.moveaxis(memory(grad), ctx.d, 0)
        before, out = np.ones_like(a), np.empty_like(a)
        before[1:] = np.cumprod(a[:-1], axis=0, dtype=a.dtype)
        rest = np.zeros_like(a[:1].sum(0))
        for k in range(len(a) - 1, -1, -1):  # what follows from element k on, each without element k itself
            rest = g[k] + (a[k + 1] * rest if k + 1 < len(a) else 0)
            out[k] = before[k] * rest
        return from_numpy(np.ascontiguousarray(np.moveaxis(out, 0, ctx.d))), None


@op("cumprod")
def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """Running products along `dim`."""
    x = _accumulate(input, dtype)
    (d,) = dims(dim, len(raw_shape(x)))
    if host(x):
        return from_numpy(np.cumprod(memory(x), axis=d, dtype=x.dtype.np).reshape(tuple(raw_shape(x))))
    if on_host(x) and raw_shape(x):
        return _CumProd.apply(x, d)
    return ops.cumprod(x, d) if raw_shape(x) else x * 1


@op("logsumexp", "special.logsumexp")
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(input))), shifted by the maximum."""
    over = dims(dim, len(raw_shape(input)))
    top = (
        wrap(mint.amax(input.detach(), over, True))
        if not host(input.detach())
        else wrap(from_numpy(np.max(memory(input.detach()), axis=over, keepdims=True)))
    )
    top = top.masked_fill(top.abs() == float("inf"), 0)
    total = (input - top).exp().sum(over, True).log() + top
    return total if keepdim else total.squeeze(over)


def _np_softmax(a: np.ndarray, d: int) -> np.ndarray:
    if a.dtype == np.float16:
        return _np_softmax(a.astype(np.float32), d).astype(np.float16)
    e = np.subtract(a, np.max(a, axis=d, keepdims=True))
    np.exp(e, out=e)
    e /= np.sum(e, axis=d, keepdims=True)
    return e


def _np_log_softmax(a: np.ndarray, d: int) -> np.ndarray:
    if a.dtype == np.float16:
        return _np_log_softmax(a.astype(np.float32), d).astype(np.float16)
    shifted = a - np.max(a, axis=d, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=d, keepdims=True))


class _Softmax(MsFunction):
    """softmax or log_softmax by numpy, with its gradient.

    MindSpore's CPU kernels err by 1e-6 in one direction, so that probabilities do not sum to one and
    gradients that cancel (of a bias before the softmax) come out a hundred times too large.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, d: int, log: bool) -> Any:
        with np.errstate(all="ignore"):
            y = from_numpy((_np_log_softmax if log else _np_softmax)(memory(x), d))
        ctx.d, ctx.log = d, log
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        y, g = wrap(ctx.saved_tensors[0]), wrap(grad)
        if ctx.log:
            return g - y.exp() * g.sum(ctx.d, True), None, None
        return y * (g - (g * y).sum(ctx.d, True)), None, None


@op("softmax", "special.softmax")
def softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim`. Rows that are -inf throughout give NaN, as in torch."""
    x = input if dtype is None else cast(input, _dtypes.as_dtype(dtype))
    (d,) = dims(dim, len(raw_shape(x)))
    if host(x) and raw_shape(x) and x.numel() and x.numel() < _LARGE:
        with np.errstate(all="ignore"):
            return from_numpy(_np_softmax(memory(x), d))
    if on_host(x) and raw_shape(x) and x.numel() and x.numel() < _LARGE:
        return _Softmax.apply(x, d, False)
    if not raw_shape(x) or not x.numel():
        return x * 0 + 1
    return mint.nn.functional.softmax(x, d)


@op("log_softmax", "special.log_softmax")
def log_softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """log(softmax(x)) along `dim`."""
    x = input if dtype is None else cast(input, _dtypes.as_dtype(dtype))
    (d,) = dims(dim, len(raw_shape(x)))
    if host(x) and raw_shape(x) and x.numel():
        with np.errstate(all="ignore"):
            return from_numpy(_np_log_softmax(memory(x), d))
    if on_host(x) and raw_shape(x) and x.numel():
        return _Softmax.apply(x, d, True)
    if not raw_shape(x) or not x.numel():  # MindSpore's gradient of it never returns
        return x * 0
    return ops.log_softmax(x, d)


@op("norm", "Tensor.norm")
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The p-norm over `dim` (all when None)."""
    return vector_norm.impls["any"](input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def _root(total: Any) -> Any:
    """The square root of a sum of squares, whose gradient at zero is zero, as torch's norm has it (not infinity)."""
    if host(total):
        return total.sqrt()
    zero = total.detach() == 0
    return total.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


@op("linalg.vector_norm")
def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """(sum |x|^p)^(1/p); infinity gives the largest magnitude, 0 the count of non-zeros."""
    x = x if dtype is None else cast(x, _dtypes.as_dtype(dtype))
    if x.dtype.is_floating_point and x.dtype.itemsize < 4:  # as PyTorch: powers overflow half precision
        wide = vector_norm.impls["any"](cast(x, _dtypes.float32), ord, dim, keepdim)
        return cast(wrap(wide), x.dtype)
    over = dims(dim, len(raw_shape(x)))
    ord = float(ord)
    if ord == float("inf"):
        return x.abs().amax(over, keepdim)
    if ord == float("-inf"):
        return x.abs().amin(over, keepdim)
    if ord == 0:
        count = (x != 0).to(x.dtype).sum(over, keepdim)
        return count + (x.masked_fill(x.detach().isfinite().logical_not(), 0) * 0).sum(over, keepdim)
    if ord == 1:
        return x.abs().sum(over, keepdim)
    if ord == 2:
        return _root((x * x).sum(over, keepdim))
    # As PyTorch: elements that are zero, and a norm of zero, have the gradient zero instead of none.
    zero = x.detach() == 0
    total = (x.abs().masked_fill(zero, 1) ** ord).masked_fill(zero, 0 if ord > 0 else float("inf")).sum(over, keepdim)
    none = total.detach() == 0
    return (total.masked_fill(none, 1) ** (1.0 / ord)).masked_fill(none, 0)


@op("linalg.norm")
def linalg_norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:  # noqa: A002, N803
    """The 2-norm of all elements, or a vector norm over `dim`; matrix norms by the fallback."""
    if ord is None or isinstance(dim, int) or len(raw_shape(A)) == 1:
        return vector_norm.impls["any"](A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)
    raise NotImplementedError("matrix norms")
