"""Windows that overlap: cutting them out, adding them up, and what rests on that.

`cut` and `add_up` are each other's adjoint, so each is the other's gradient. On the CPU transposed convolution is a
matrix product whose columns are added up, and a convolution that MindSpore's kernel lacks one of columns cut out.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from .. import _dtypes
from .._ms import mint
from ._common import ON_CPU, cast, np, op, raw_shape, wrap
from .spectral import _Linear


def _places(count: int, stride: int, offset: int) -> slice:
    return slice(offset, offset + (count - 1) * stride + 1, stride)


def _cells(kernel: Sequence[int], counts: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    """(position in the kernel, slices of the padded image that it meets)."""
    for at in itertools.product(*(range(k) for k in kernel)):
        yield (
            at,
            tuple(_places(n, s, i * d) for n, s, i, d in zip(counts, stride, at, dilation, strict=True)),
        )


def _cut(a: np.ndarray, kernel: tuple, counts: tuple, stride: tuple, pads: tuple, dilation: tuple) -> np.ndarray:
    lead = a.ndim - len(kernel)
    if any(v for p in pads for v in p):
        a = np.pad(a, [(0, 0)] * lead + [(max(b, 0), max(e, 0)) for b, e in pads])
    out = np.empty((*a.shape[:lead], *kernel, *counts), a.dtype)
    for at, where in _cells(kernel, counts, stride, dilation):
        out[(slice(None),) * lead + at] = a[(Ellipsis, *where)]
    return out


def _add_up(
    c: np.ndarray, sizes: tuple, kernel: tuple, counts: tuple, stride: tuple, pads: tuple, dilation: tuple
) -> np.ndarray:
    lead = c.ndim - 2 * len(kernel)
    full = [n + b + e for n, (b, e) in zip(sizes, pads, strict=True)]
    out = np.zeros((*c.shape[:lead], *full), np.float32 if c.dtype == np.float16 else c.dtype)
    for at, where in _cells(kernel, counts, stride, dilation):
        out[(Ellipsis, *where)] += c[(slice(None),) * lead + at]
    out = out[(Ellipsis, *(slice(b, b + n) for n, (b, _) in zip(sizes, pads, strict=True)))]
    return out.astype(c.dtype, copy=False)


def counts_of(sizes: Sequence[int], kernel: tuple, stride: tuple, pads: tuple, dilation: tuple) -> tuple[int, ...]:
    """How many windows fit, per dimension. Raises RuntimeError when none does."""
    found = tuple(
        (n + b + e - d * (k - 1) - 1) // s + 1
        for n, k, s, (b, e), d in zip(sizes, kernel, stride, pads, dilation, strict=True)
    )
    if any(n < 1 for n in found):
        raise RuntimeError(
            f"Calculated padded input size per channel: {[n + b + e for n, (b, e) in zip(sizes, pads, strict=True)]}. "
            f"Kernel size: {list(kernel)}. Kernel size can't be greater than actual input size"
        )
    return found


def cut(x: Any, kernel: tuple, stride: tuple, pads: tuple, dilation: tuple) -> Any:
    """(..., *sizes) to (..., *kernel, *windows): every window's elements; outside the image they are zero."""
    sizes = tuple(raw_shape(x))[-len(kernel) :]
    counts = counts_of(sizes, kernel, stride, pads, dilation)
    there = functools.partial(_cut, kernel=kernel, counts=counts, stride=stride, pads=pads, dilation=dilation)
    back = functools.partial(
        _add_up, sizes=sizes, kernel=kernel, counts=counts, stride=stride, pads=pads, dilation=dilation
    )
    return wrap(_Linear.apply(x, there, back))


def add_up(x: Any, sizes: tuple, kernel: tuple, counts: tuple, stride: tuple, pads: tuple, dilation: tuple) -> Any:
    """(..., *kernel, *windows) to (..., *sizes): elements of several windows are summed."""
    there = functools.partial(
        _add_up, sizes=sizes, kernel=kernel, counts=counts, stride=stride, pads=pads, dilation=dilation
    )
    back = functools.partial(_cut, kernel=kernel, counts=counts, stride=stride, pads=pads, dilation=dilation)
    return wrap(_Linear.apply(x, there, back))


def many(value: Any, n: int) -> tuple[int, ...]:
    """`value` for each of n dimensions."""
    values = tuple(int(v) for v in value) if isinstance(value, Sequence) else (int(value),)
    return values * n if len(values) == 1 else values


def convolve(x: Any, weight: Any, stride: tuple, pads: Any, dilation: tuple, groups: int) -> Any:
    """A convolution as one matrix product: x (N, C, ...), weight (out, C / groups, ...)."""
    w_shape = tuple(raw_shape(weight))
    kernel, n = w_shape[2:], raw_shape(x)[0]
    cells = cut(x, kernel, stride, tuple(tuple(p) for p in pads), dilation)
    counts = tuple(raw_shape(cells))[2 + len(kernel) :]
    columns = cells.reshape(n, groups, w_shape[1] * math.prod(kernel), math.prod(counts))
    rows = weight.reshape(1, groups, w_shape[0] // groups, w_shape[1] * math.prod(kernel))
    return (rows @ columns).reshape(n, w_shape[0], *counts)


def _transposed(
    n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any,
) -> Any:  # fmt: skip
    stride, padding, extra, dilation = (many(v, n) for v in (stride, padding, output_padding, dilation))
    x_shape, w_shape = tuple(raw_shape(input)), tuple(raw_shape(weight))
    if len(x_shape) not in (n + 1, n + 2) or len(w_shape) != n + 2:
        raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to conv_transpose{n}d, but got "
                           f"input of size: {list(x_shape)}")  # fmt: skip
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"Input type ({input.dtype}) and weight type ({weight.dtype}) should be the same")
    if x_shape[-n - 1] != w_shape[0] or w_shape[0] % groups:
        raise RuntimeError(f"Given transposed=1, weight of size {list(w_shape)}, expected input{list(x_shape)} to have "
                           f"{w_shape[0]} channels, but got {x_shape[-n - 1]} channels instead")  # fmt: skip
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got {extra}")
    if not input.dtype.is_floating_point or 0 in x_shape:
        raise NotImplementedError("transposed convolution of integers, of complex numbers and of nothing")
    kept = input.dtype
    if kept.itemsize < 4:
        input, weight = cast(input, _dtypes.float32), cast(weight, _dtypes.float32)
        bias = None if bias is None else cast(bias, _dtypes.float32)
    x = input if len(x_shape) == n + 2 else input.unsqueeze(0)
    kernel, counts = w_shape[2:], tuple(raw_shape(x))[2:]
    sizes = tuple(
        (c - 1) * s - 2 * p + d * (k - 1) + e + 1
        for c, s, p, d, k, e in zip(counts, stride, padding, dilation, kernel, extra, strict=True)
    )
    if any(s < 1 for s in sizes):
        raise RuntimeError(f"Given input size per channel: {list(counts)}. Calculated output size per channel: "
                           f"{list(sizes)}. Output size is too small")  # fmt: skip
    out = w_shape[1]
    rows = weight.reshape(1, groups, w_shape[0] // groups, out * math.prod(kernel)).transpose(-2, -1)
    columns = rows @ x.reshape(raw_shape(x)[0], groups, w_shape[0] // groups, math.prod(counts))
    columns = columns.reshape(raw_shape(x)[0], groups * out, *kernel, *counts)
    pads = tuple((p, p) for p in padding)
    y = add_up(columns, sizes, kernel, counts, stride, pads, dilation)
    y = y if bias is None else y + bias.reshape(1, -1, *(1,) * n)
    y = y if len(x_shape) == n + 2 else y.squeeze(0)
    return y if kept is y.dtype else cast(y, kept)


def _register(n: int) -> None:
    def conv_transpose(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Any:  # fmt: skip
        return _transposed(n, input, weight, bias, stride, padding, output_padding, groups, dilation)

    conv_transpose.__doc__ = (
        f"The gradient of `conv{n}d` with respect to its input: input (N, C, ...), weight (C, out / groups, ...)."
    )
    made = op(f"conv_transpose{n}d", device="cpu")(conv_transpose)

    def on_npu(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Any:  # fmt: skip
        fn = mint.nn.functional.conv_transpose2d
        if n == 2:
            return fn(input, weight, bias, stride, padding, output_padding, groups, dilation)
        stride, padding, extra, dilation = (many(v, 1) for v in (stride, padding, output_padding, dilation))
        y = fn(
            input.unsqueeze(-2), weight.unsqueeze(-2), bias, (1, *stride), (0, *padding), (0, *extra), groups,
            (1, *dilation),
        )  # fmt: skip
        return wrap(y).squeeze(-2)

    if n < 3:
        made.on("npu")(on_npu)


for _n in (1, 2, 3):
    _register(_n)


def _pairs(*values: Any) -> list[tuple[int, int]]:
    return [many(v, 2) for v in values]  # type: ignore[misc]


@op("_C._nn.im2col")
def im2col(input: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """torch.nn.functional.unfold: (N, C, H, W) to (N, C * kernel elements, positions)."""
    if not ON_CPU:
        return mint.nn.functional.unfold(input, kernel_size, dilation, padding, stride)
    kernel, dilation, padding, stride = _pairs(kernel_size, dilation, padding, stride)
    shape = tuple(raw_shape(input))
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        raise RuntimeError(f"Expected 3D or 4D (batch mode) tensor for input with elements, but got: {list(shape)}")
    cells = cut(input, kernel, stride, tuple((p, p) for p in padding), dilation)
    counts = tuple(raw_shape(cells))[-2:]
    return cells.reshape(*shape[:-3], shape[-3] * math.prod(kernel), math.prod(counts))


@op("_C._nn.col2im")
def col2im(input: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """torch.nn.functional.fold: (N, C * kernel elements, positions) to (N, C, H, W), overlapping windows added up."""
    if not ON_CPU:
        return mint.nn.functional.fold(input, output_size, kernel_size, dilation, padding, stride)
    sizes, kernel, dilation, padding, stride = _pairs(output_size, kernel_size, dilation, padding, stride)
    shape = tuple(raw_shape(input))
    pads = tuple((p, p) for p in padding)
    counts = counts_of(sizes, kernel, stride, pads, dilation)
    if len(shape) not in (2, 3) or shape[-2] % math.prod(kernel) or shape[-1] != math.prod(counts):
        raise RuntimeError(
            f"fold: expected (C * {math.prod(kernel)}, {math.prod(counts)}) in the last dimensions, got {list(shape)}"
        )
    cells = input.reshape(*shape[:-2], shape[-2] // math.prod(kernel), *kernel, *counts)
    return add_up(cells, sizes, kernel, counts, stride, pads, dilation)


@op("grid_sampler")
def grid_sampler(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """Elements of images (N, C, H, W) at the places of `grid` (N, h, w, 2), which run from -1 to 1."""
    if interpolation_mode == 2 or input.dtype.itemsize < 4 or len(raw_shape(input)) != len(raw_shape(grid)):
        raise NotImplementedError("cubic grid_sample, and half precision")
    if input.dtype is not grid.dtype:
        raise RuntimeError(
            f"grid_sampler(): expected input and grid to have same dtype, but input has {input.dtype} and grid has "
            f"{grid.dtype}"
        )
    if raw_shape(input)[0] != raw_shape(grid)[0] or raw_shape(grid)[-1] != len(raw_shape(input)) - 2:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, and grid a last dimension of "
            f"{len(raw_shape(input)) - 2}, got {list(grid.shape)} and {list(input.shape)}"
        )
    mode = ("bilinear", "nearest")[interpolation_mode]
    edge = ("zeros", "border", "reflection")[padding_mode]
    return mint.nn.functional.grid_sample(input.contiguous(), grid.contiguous(), mode, edge, bool(align_corners))
