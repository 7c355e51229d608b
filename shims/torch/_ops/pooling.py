"""Pooling. On the CPU one node per operator, which walks through the kernel's positions.

On Ascend and when a graph is captured, compositions of gathers and reductions.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

from .. import _dtypes
from .._ms import MsFunction
from ._common import ON_CPU, capturing, cast, from_numpy, memory, np, op, raw_shape, wrap
from .spectral import _Linear
from .windows import _cells, many


def _checked(name: str, x: Any, n: int, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple:
    """(kernel, stride, padding, dilation), each a tuple of n. Raises RuntimeError as torch does."""
    given = stride is not None and stride != [] and stride != ()
    found = many(kernel, n), many(stride if given else kernel, n), many(padding, n), many(dilation, n)
    kernel, stride, padding, dilation = found
    if any(len(v) != n for v in found):
        raise RuntimeError(
            f"{name}(): kernel_size, stride, padding and dilation must be one number or {n}, got {found}"
        )
    shape = tuple(raw_shape(x))
    if len(shape) not in (n + 1, n + 2) or 0 in shape[-n - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
            f"got:{list(shape)}"
        )
    if any(v < 1 for v in (*kernel, *stride, *dilation)):
        raise RuntimeError(f"{name}() kernel_size, stride and dilation must be greater than zero, but got {found}")
    if any(p < 0 or p > (d * (k - 1) + 1) // 2 for p, k, d in zip(padding, kernel, dilation, strict=True)):
        raise RuntimeError(
            "pad should be at most half of effective kernel size, and not negative, but got "
            f"pad={padding}, kernel_size={kernel} and dilation={dilation}"
        )
    return found


def _geometry(x: Any, n: int, shape: tuple, ceil: bool) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """(outputs, (padding before, after)) per dimension."""
    sizes, counts, pads = list(raw_shape(x)[-n:]), [], []
    for size, k, s, p, d in zip(sizes, *shape, strict=True):
        span = size + 2 * p - d * (k - 1) - 1
        count = (-(-span // s) if ceil else span // s) + 1
        if ceil and (count - 1) * s >= size + p:
            count -= 1
        if count < 1:
            raise RuntimeError(f"Given input size: {sizes}. Calculated output size is too small")
        counts.append(count)
        pads.append((p, max((count - 1) * s + d * (k - 1) + 1 - size - p, 0)))
    return tuple(counts), tuple(pads)


def _gathered(x: Any, n: int, shape: tuple, counts: tuple, pads: tuple, fill: float) -> Any:
    """The last n dimensions of x as (..., outputs, kernel elements), by one gather."""
    kernel, stride, _, dilation = shape
    if any(v for p in pads for v in p):
        from .neural import pad

        x = wrap(pad.impls["any"](x, [v for p in reversed(pads) for v in p], value=fill))
    full = tuple(raw_shape(x)[-n:])
    index = np.zeros((*counts, *kernel), np.int64)
    for i, (count, k, s, d) in enumerate(zip(counts, kernel, stride, dilation, strict=True)):
        places = (np.arange(count)[:, None] * s + np.arange(k) * d) * math.prod(full[i + 1 :])
        spread = [1] * (2 * n)
        spread[i], spread[n + i] = count, k
        index += places.reshape(spread)
    lead = tuple(raw_shape(x)[:-n])
    flat = x.reshape(*lead, math.prod(full)).index_select(-1, wrap(from_numpy(index.reshape(-1))))
    return flat.reshape(*lead, math.prod(counts), math.prod(kernel))


# ---- the largest
class _Largest(MsFunction):
    """(values, flat places in the image) of the windows' largest elements; NaN is largest, the first of equals wins."""

    @staticmethod
    def forward(ctx: Any, x: Any, n: int, shape: tuple, counts: tuple, pads: tuple) -> Any:
        kernel, stride, _, dilation = shape
        a = memory(x)
        sizes = a.shape[-n:]
        low = -np.inf if a.dtype.kind == "f" else np.iinfo(a.dtype).min if a.dtype.kind == "i" else 0
        margins = [(0, 0)] * (a.ndim - n) + list(pads)
        padded = np.pad(a, margins, constant_values=low) if any(v for p in pads for v in p) else a
        place = np.pad(np.arange(math.prod(sizes)).reshape(sizes), pads, constant_values=-1)
        best = at = None
        for _, where in _cells(kernel, counts, stride, dilation):
            value, here = padded[(Ellipsis, *where)], place[where]
            if best is None:
                best, at = value.copy(), np.broadcast_to(here, value.shape).copy()
                continue
            better = ((value > best) | (value != value) | (at < 0)) & (here >= 0)  # noqa: PLR0124
            np.copyto(best, value, where=better)
            np.copyto(at, np.broadcast_to(here, value.shape), where=better)
        ctx.at, ctx.shape, ctx.n = at, a.shape, n
        indices = from_numpy(at)
        ctx.mark_non_differentiable(indices)
        return from_numpy(best), indices

    @staticmethod
    def backward(ctx: Any, grad: Any, _: Any) -> Any:
        return _Put.apply(wrap(grad), ctx.at, ctx.shape, ctx.n), None, None, None, None


class _Put(MsFunction):
    """Zeros with values added at flat places of each image; taking from there is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, at: np.ndarray, shape: tuple, n: int) -> Any:
        ctx.at, ctx.n = at, n
        a, size = memory(x), math.prod(shape[-n:])
        images = math.prod(shape[:-n])
        places = at.reshape(images, -1) + np.arange(images)[:, None] * size
        total = np.bincount(places.reshape(-1), a.reshape(-1), images * size)
        return from_numpy(total.astype(a.dtype).reshape(shape))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        lead = ctx.at.shape[: -ctx.n]
        places = wrap(from_numpy(ctx.at.reshape(*lead, -1)))
        return wrap(grad).reshape(*lead, -1).gather(-1, places).reshape(ctx.at.shape), None, None, None


def _max_pool(n: int, name: str, indices: bool) -> Any:
    def pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        shape = _checked(f"max_pool{n}d", input, n, kernel_size, stride, padding, dilation)
        counts, pads = _geometry(input, n, shape, ceil_mode)
        if ON_CPU and not capturing():
            values, at = (wrap(v) for v in _Largest.apply(input, n, shape, counts, pads))
            return (values, at) if indices else values
        if indices:
            raise NotImplementedError("the indices of max_pool, other than eagerly on the CPU")
        cells = _gathered(input, n, shape, counts, pads, -math.inf)
        return cells.max(-1).values.reshape(*raw_shape(input)[:-n], *counts)

    pool.__doc__ = f"The largest element of each window over the last {n} dimensions; padding never wins."
    return op(name)(pool)


for _n in (1, 2, 3):
    _max_pool(_n, f"max_pool{_n}d", indices=False)
    _max_pool(_n, "max_pool1d_with_indices" if _n == 1 else f"_C._nn.max_pool{_n}d_with_indices", indices=True)


# ---- the mean
def _sum_windows(a: np.ndarray, n: int, shape: tuple, counts: tuple, pads: tuple) -> np.ndarray:
    kernel, stride, _, dilation = shape
    padded = np.pad(a, [(0, 0)] * (a.ndim - n) + list(pads)) if any(v for p in pads for v in p) else a
    out = np.zeros((*a.shape[:-n], *counts), np.float32 if a.dtype == np.float16 else a.dtype)
    for _, where in _cells(kernel, counts, stride, dilation):
        out += padded[(Ellipsis, *where)]
    return out.astype(a.dtype, copy=False)


def _spread(g: np.ndarray, sizes: tuple, n: int, shape: tuple, counts: tuple, pads: tuple) -> np.ndarray:
    kernel, stride, _, dilation = shape
    out = np.zeros((*g.shape[:-n], *(s + b + e for s, (b, e) in zip(sizes, pads, strict=True))), g.dtype)
    for _, where in _cells(kernel, counts, stride, dilation):
        out[(Ellipsis, *where)] += g
    return out[(Ellipsis, *(slice(b, b + s) for s, (b, _) in zip(sizes, pads, strict=True)))]


def _avg_pool(n: int, *names: str) -> None:
    def pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        shape = _checked(f"avg_pool{n}d", input, n, kernel_size, stride, padding, 1)
        kernel, stride, padding, _ = shape
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        counts, pads = _geometry(input, n, shape, ceil_mode)
        if ON_CPU and not capturing():
            there = functools.partial(_sum_windows, n=n, shape=shape, counts=counts, pads=pads)
            back = functools.partial(
                _spread, sizes=tuple(raw_shape(input)[-n:]), n=n, shape=shape, counts=counts, pads=pads
            )
            total = wrap(_Linear.apply(input, there, back))
        else:
            cells = _gathered(input, n, shape, counts, pads, 0.0)
            total = cells.sum(-1).reshape(*raw_shape(input)[:-n], *counts)
        sizes = np.ones((), np.int64)
        for size, k, s, p, count in zip(raw_shape(input)[-n:], kernel, stride, padding, counts, strict=True):
            start = np.arange(count) * s - p
            end = np.minimum(start + k, size + p)
            lengths = end - start if count_include_pad else np.minimum(end, size) - np.maximum(start, 0)
            sizes = np.multiply.outer(sizes, lengths)
        if divisor_override is not None:
            sizes = np.full_like(sizes, divisor_override)
        divisor = wrap(from_numpy(np.ascontiguousarray(sizes)))
        if not input.dtype.is_floating_point:
            return total.div(divisor, rounding_mode="trunc")
        return total / cast(divisor, input.dtype)

    pool.__doc__ = f"The mean of each window over the last {n} dimensions."
    op(*names)(pool)


_avg_pool(1, "avg_pool1d")
_avg_pool(2, "_C._nn.avg_pool2d")
_avg_pool(3, "_C._nn.avg_pool3d")


@functools.lru_cache(maxsize=64)
def _shares(size: int, out: int) -> np.ndarray:
    """(size, out) weights of the mean over windows that divide `size` into `out`, overlapping where they must."""
    weights = np.zeros((size, out), np.float32)
    for i in range(out):
        start, end = i * size // out, -(-(i + 1) * size // out)
        weights[start:end, i] = 1 / (end - start)
    return weights


def _adaptive_avg(n: int, *names: str) -> None:
    def pool(input: Any, output_size: Any) -> Any:
        given = output_size if isinstance(output_size, Sequence) else (output_size,) * n
        if len(given) != n or len(raw_shape(input)) not in (n + 1, n + 2) or 0 in raw_shape(input)[1:]:
            raise RuntimeError(
                f"adaptive_avg_pool{n}d(): Expected {n} sizes and {n + 1}D or {n + 2}D tensor with elements, but got "
                f"{output_size} and {list(raw_shape(input))}"
            )
        sizes = [have if want is None else int(want) for want, have in zip(given, raw_shape(input)[-n:], strict=True)]
        if any(s < 0 for s in sizes):
            raise RuntimeError("adaptive_avg_pool: elements of output_size must be greater than or equal to 0")
        if all(s == 1 for s in sizes):
            return input.mean(tuple(range(-n, 0)), True)
        y = input if input.dtype.itemsize > 2 else cast(input, _dtypes.float32)
        for i, out in enumerate(sizes):
            d = len(raw_shape(input)) - n + i
            weights = wrap(from_numpy(_shares(raw_shape(input)[d], out).copy()))
            y = (y.transpose(d, -1) @ cast(weights, y.dtype)).transpose(d, -1)
        return cast(y.contiguous(), input.dtype)

    pool.__doc__ = f"The mean over windows that divide the last {n} dimensions into `output_size`."
    op(*names)(pool)


_adaptive_avg(1, "adaptive_avg_pool1d")
_adaptive_avg(2, "_C._nn.adaptive_avg_pool2d")
_adaptive_avg(3, "_C._nn.adaptive_avg_pool3d")
