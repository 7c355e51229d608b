"""Running extrema, and values by their rank: cummax, kthvalue, median."""

import collections
from collections.abc import Callable
from typing import Any

from .. import _dtypes
from .._ms import mint
from ._common import ON_CPU, dims, from_numpy, memory, np, op, raw_shape, records, wrap
from .indexing import _order
from .indexing import gather as gather_op
from .reduction import among_equals

CumMax = collections.namedtuple("cummax", ["values", "indices"])
CumMin = collections.namedtuple("cummin", ["values", "indices"])
KthValue = collections.namedtuple("kthvalue", ["values", "indices"])
Median = collections.namedtuple("median", ["values", "indices"])


def _index(a: np.ndarray) -> Any:
    return wrap(from_numpy(np.array(a, np.int64, order="C")))


def _running(name: str, np_fn: Callable, result: Any) -> None:
    def impl(input: Any, dim: int) -> Any:
        (d,) = dims(dim, len(raw_shape(input)))
        if not ON_CPU:
            return result(*getattr(mint, name)(input, d))
        if not raw_shape(input):
            return result(input.clone(), _index(np.zeros(())))
        a = memory(input.detach())
        best = np_fn(a, axis=d)
        same = (a == best) | ((a != a) & (best != best))  # noqa: PLR0124  (NaN is not itself)
        steps = np.arange(a.shape[d]).reshape([-1 if i == d else 1 for i in range(a.ndim)])
        at = _index(np.maximum.accumulate(np.where(same, steps, 0), axis=d))
        return result(wrap(gather_op.impls["any"](input, d, at)), at)

    impl.__doc__ = f"(values, indices) of the {name[3:]}imum so far along `dim`; the last index of equal ones."
    op(name)(impl)


_running("cummax", np.maximum.accumulate, CumMax)
_running("cummin", np.minimum.accumulate, CumMin)


def _ranked(input: Any, rank: np.ndarray, d: int, keepdim: bool) -> tuple[Any, Any]:
    """The elements that are `rank`-th (from 0) along d, and where they are."""
    order = _order(input, d, False)
    at = _index(np.take_along_axis(order, rank, d))
    values = wrap(gather_op.impls["any"](input, d, at))
    return (values, at) if keepdim else (values.squeeze(d), at.squeeze(d))


@op("kthvalue")
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the k-th smallest element along `dim`, counted from 1."""
    (d,) = dims(dim, len(raw_shape(input)))
    n = raw_shape(input)[d] if raw_shape(input) else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    if not ON_CPU:
        return KthValue(*mint.kthvalue(input, k, d, keepdim))
    if not raw_shape(input):
        return KthValue(input.clone(), _index(np.zeros(())))
    shape = tuple(1 if i == d else s for i, s in enumerate(raw_shape(input)))
    return KthValue(*_ranked(input, np.full(shape, k - 1), d, keepdim))


def _median(name: str, skips: bool) -> None:
    def impl(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if not ON_CPU and not skips:
            return mint.median(input) if dim is None else Median(*mint.median(input, dim, keepdim))
        if not input.numel() and (dim is None or not raw_shape(input)[dim]):
            if dim is None and input.dtype.is_floating_point:
                return input.sum() * float("nan")
            raise IndexError("median(): Expected reduction dim to have non-zero size")
        x = input.reshape(-1) if dim is None or not raw_shape(input) else input
        (d,) = dims(0 if dim is None else dim, len(raw_shape(x)))
        nans = np.isnan(memory(x.detach())).sum(d, keepdims=True) if x.dtype.is_floating_point else 0
        n = raw_shape(x)[d]
        rank = np.maximum(n - nans - 1, 0) // 2 if skips else np.where(nans, n - nans, (n - 1) // 2)
        shape = tuple(1 if i == d else s for i, s in enumerate(raw_shape(x)))
        values, at = _ranked(x, np.broadcast_to(rank, shape), d, keepdim or not raw_shape(input))
        if dim is None:
            return among_equals(x, int(memory(at).reshape(-1)[0])) if records(x) else values.reshape(())
        return Median(values, at) if raw_shape(input) else Median(values.reshape(()), at.reshape(()))

    impl.__doc__ = "The lower median of all elements, or (values, indices) along `dim`" + (
        ", of those that are not NaN." if skips else "; NaN where there is one."
    )
    op(name)(impl)


_median("median", skips=False)
_median("nanmedian", skips=True)


def _without_nan(name: str) -> None:
    def impl(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        if input.dtype.is_complex:
            raise RuntimeError(f"{name} does not support complex inputs")
        if not input.dtype.is_floating_point:
            if name == "nanmean":
                raise RuntimeError("nanmean(): expected input to have floating point dtype")
            return input.sum(dim, keepdim, dtype=dtype)
        x = input if dtype is None else input.to(_dtypes.as_dtype(dtype))
        nan = x.detach().isnan()
        total = x.masked_fill(nan, 0).sum(dim, keepdim)
        return total if name == "nansum" else total / (~nan).sum(dim, keepdim)

    impl.__doc__ = f"The {name[3:]} over `dim` of the elements that are not NaN."
    op(name)(impl)


_without_nan("nansum")
_without_nan("nanmean")
