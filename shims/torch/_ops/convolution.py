"""Convolution in one, two and three dimensions.

On the CPU they are MindSpore's `Conv2D` (`windows` for three dimensions); on Ascend
`mint`'s own functions. What neither expresses goes to the fallback by NotImplementedError.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

from .. import _dtypes
from .._ms import mint
from ._common import cast, op, ops, raw_shape, wrap


def _many(value: Any, n: int) -> tuple[int, ...]:
    """`value` for each of n dimensions."""
    values = tuple(int(v) for v in value) if isinstance(value, Sequence) else (int(value),)
    return values * n if len(values) == 1 else values


def _padding(
    padding: Any, kernel: Sequence[int], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    """(before, after) per dimension; "same" puts the odd one after, as torch."""
    n = len(kernel)
    if padding == "valid":
        return [(0, 0)] * n
    if padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [(t // 2, t - t // 2) for t in totals]
    return [(p, p) for p in _many(padding, n)]


@functools.cache
def _conv2d(channels: int, kernel: tuple, pads: tuple, stride: tuple, dilation: tuple, groups: int) -> Any:
    return ops.Conv2D(
        channels, kernel, mode=1, pad_mode="pad", pad=pads, stride=stride, dilation=dilation, group=groups
    )


def _check(x: tuple, w: tuple, n: int, groups: int) -> None:
    if len(x) not in (n + 1, n + 2) or len(w) != n + 2:
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to conv{n}d, but got input of size: {list(x)}"
        )
    if x[-n - 1] != w[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(w)}, expected input{list(x)} to have {w[1] * groups} "
            "channels, "
            f"but got {x[-n - 1]} channels instead"
        )


def _convolve(n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    stride, dilation = _many(stride, n), _many(dilation, n)
    x_shape, w_shape = tuple(raw_shape(input)), tuple(raw_shape(weight))
    _check(x_shape, w_shape, n, groups)
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"Input type ({input.dtype}) and weight type ({weight.dtype}) should be the same")
    if input.dtype not in (_dtypes.float32, _dtypes.float16, _dtypes.bfloat16) or 0 in x_shape:
        raise NotImplementedError("the convolution kernel takes float32 and non-empty images")
    narrow = input.dtype
    if narrow is not _dtypes.float32:
        input, weight = cast(input, _dtypes.float32), cast(weight, _dtypes.float32)
        bias = None if bias is None else cast(bias, _dtypes.float32)
    x = input if len(x_shape) == n + 2 else input.unsqueeze(0)
    pads = _padding(padding, w_shape[2:], stride, dilation)
    if n == 3:
        y = _patches(x, weight, stride, pads, dilation, groups)
    else:
        y = _planar(x, weight, stride, pads, dilation, groups)
    if bias is not None:
        y = y + bias.reshape(1, -1, *(1,) * n)
    y = y if len(x_shape) == n + 2 else y.squeeze(0)
    return y if narrow is _dtypes.float32 else cast(y, narrow)


def _planar(x: Any, weight: Any, stride: tuple, pads: list, dilation: tuple, groups: int) -> Any:
    """One and two dimensions; a line is an image of height one."""
    line = len(stride) == 1
    if line:
        x, weight, stride, dilation, pads = (
            x.unsqueeze(2),
            weight.unsqueeze(2),
            (1, *stride),
            (1, *dilation),
            [(0, 0), *pads],
        )
    kernel = tuple(raw_shape(weight))[2:]
    if any(s + sum(p) < d * (k - 1) + 1 for s, p, d, k in zip(raw_shape(x)[2:], pads, dilation, kernel, strict=True)):
        raise RuntimeError(f"Kernel size {kernel} can't be greater than the padded input size")
    conv = _conv2d(raw_shape(weight)[0], kernel, tuple(v for p in pads for v in p), stride, dilation, groups)
    y = wrap(conv(x.contiguous(), weight.contiguous()))
    return y.squeeze(2) if line else y


def _patches(x: Any, weight: Any, stride: tuple, pads: list, dilation: tuple, groups: int) -> Any:
    """Kernels that do not overlap (patch embeddings): cut into patches, one matrix product."""
    w_shape = tuple(raw_shape(weight))
    kernel = w_shape[2:]
    if stride != kernel or any(p != (0, 0) for p in pads) or any(d != 1 for d in dilation) or groups != 1:
        from .windows import convolve

        return wrap(convolve(x, weight, stride, pads, dilation, groups))
    n, c = raw_shape(x)[:2]
    counts = [s // k for s, k in zip(raw_shape(x)[2:], kernel, strict=True)]
    if any(m * k != s for m, k, s in zip(counts, kernel, raw_shape(x)[2:], strict=True)):
        x = x[(slice(None), slice(None), *(slice(0, m * k) for m, k in zip(counts, kernel, strict=True)))]
    cut = x.reshape(n, c, *(v for pair in zip(counts, kernel, strict=True) for v in pair)).permute(
        0, 2, 4, 6, 1, 3, 5, 7
    )
    from .linear import linear

    y = wrap(linear.impls["any"](cut.reshape(-1, c * math.prod(kernel)), weight.reshape(w_shape[0], -1)))
    return y.reshape(n, *counts, w_shape[0]).permute(0, 4, 1, 2, 3)


def _register(n: int) -> None:
    name = f"conv{n}d"

    def conv(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        return _convolve(n, input, weight, bias, stride, padding, dilation, groups)

    def on_npu(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        return getattr(mint.nn.functional, name)(input, weight, bias, stride, padding, dilation, groups)

    conv.__doc__ = (
        f"Cross-correlation over {n} dimensions: input (N, C, ...), weight (out, C / groups, ...), bias (out)."
    )
    op(name)(conv).on("npu")(on_npu)


for _n in (1, 2, 3):
    _register(_n)


# ---- rearrangements of channels
@op("pixel_shuffle")
def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(..., C r^2, H, W) to (..., C, H r, W r)."""
    *lead, c, h, w = raw_shape(input)
    r = upscale_factor
    k = len(lead)
    x = input.reshape(*lead, c // (r * r), r, r, h, w).permute(*range(k), k, k + 3, k + 1, k + 4, k + 2)
    return x.reshape(*lead, c // (r * r), h * r, w * r)


@op("pixel_unshuffle")
def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(..., C, H r, W r) to (..., C r^2, H, W)."""
    *lead, c, h, w = raw_shape(input)
    r = downscale_factor
    k = len(lead)
    x = input.reshape(*lead, c, h // r, r, w // r, r).permute(*range(k), k, k + 2, k + 4, k + 1, k + 3)
    return x.reshape(*lead, c * r * r, h // r, w // r)


@op("_weight_norm")
def weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    """v * g / |v|, the norm over all dimensions but `dim` (arXiv:1602.07868)."""
    rank = len(raw_shape(v))
    over = [d for d in range(rank) if dim == -1 or d != dim % rank]
    return v * (g / (v * v).sum(over, True).sqrt())
