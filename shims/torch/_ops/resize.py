"""Resampling of images (torch.nn.functional.interpolate): one matrix per dimension, or a choice of rows.

Linear and cubic resampling are separable: each spatial dimension is multiplied by a small (out, in) matrix,
which is differentiable and needs no kernel of its own on any device.
"""

import functools
from typing import Any

from .. import _dtypes
from ._common import cast, from_numpy, np, op, raw_shape, wrap


def _sizes(x: Any, n: int, output_size: Any, scales: Any) -> tuple[list[int], list[float | None]]:
    """Output sizes, and the scale factor per dimension where the caller gave one."""
    factors = (
        [None] * n
        if scales is None
        else [None if s is None else float(s) for s in (scales if isinstance(scales, (list, tuple)) else [scales] * n)]
    )
    if output_size is not None:
        return [int(s) for s in output_size], factors
    return [int(s * f) for s, f in zip(raw_shape(x)[-n:], factors, strict=True)], factors  # type: ignore[operator]


def _ratio(size: int, out: int, factor: float | None) -> np.float32:
    return np.float32(1.0 / factor) if factor else np.float32(size) / np.float32(out)


def _nearest(n: int, exact: bool) -> Any:
    def resample(input: Any, output_size: Any = None, scales: Any = None, *more: Any) -> Any:
        sizes, factors = _sizes(input, n, output_size, (scales, *more) if more else scales)
        y = input
        for i, (out, factor) in enumerate(zip(sizes, factors, strict=True)):
            d = len(raw_shape(input)) - n + i
            size = raw_shape(input)[d]
            at = (np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0)) * _ratio(size, out, factor)
            y = y.index_select(d, wrap(from_numpy(np.minimum(at.astype(np.int64), size - 1))))
        return y

    resample.__doc__ = f"The nearest element, over the last {n} dimensions."
    return resample


for _n in (1, 2, 3):
    op(f"_C._nn.upsample_nearest{_n}d")(_nearest(_n, exact=False))
    op(f"_C._nn._upsample_nearest_exact{_n}d")(_nearest(_n, exact=True))


@functools.lru_cache(maxsize=64)
def _matrix(kind: str, size: int, out: int, corners: bool, factor: float | None) -> np.ndarray:
    """(out, size) weights. Cubic: Keys' kernel with a = -0.75."""
    if kind.endswith("antialiased"):
        return _antialiased(kind, size, out, corners, factor)
    if corners:
        at = np.arange(out) * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:
        at = (np.arange(out) + 0.5) * float(_ratio(size, out, factor)) - 0.5
    weights = np.zeros((out, size))
    rows = np.arange(out)
    if kind == "linear":
        at = np.maximum(at, 0)
        low = np.minimum(np.floor(at).astype(int), size - 1)
        part = at - low
        np.add.at(weights, (rows, low), 1 - part)
        np.add.at(weights, (rows, np.minimum(low + 1, size - 1)), part)
        return weights.astype(np.float32)
    low = np.floor(at).astype(int)
    part, a = at - low, -0.75
    for tap in range(-1, 3):
        t = np.abs(part - tap)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        np.add.at(weights, (rows, np.clip(low + tap, 0, size - 1)), np.where(t <= 1, near, far))
    return weights.astype(np.float32)


def _antialiased(kind: str, size: int, out: int, corners: bool, factor: float | None) -> np.ndarray:
    """(out, size) weights of a filter widened to the output's pixels: triangle, Keys' kernel (a = -0.5), Lanczos'."""
    scale = ((size - 1) / (out - 1) if out > 1 else 0.0) if corners else float(_ratio(size, out, factor))
    reach = {"linear": 1.0, "cubic": 2.0, "lanczos": 3.0}[kind.split()[0]] * max(scale, 1.0)
    centre = scale * (np.arange(out) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), size)
    places = np.arange(size)
    t = np.abs((places + 0.5 - centre[:, None]) / max(scale, 1.0))
    if kind.startswith("cubic"):
        a = -0.5
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = (((t - 5) * t + 8) * t - 4) * a
        weights = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    elif kind.startswith("lanczos"):
        weights = np.where(t < 3, np.sinc(t) * np.sinc(t / 3), 0.0)
    else:
        weights = np.maximum(1 - t, 0.0)
    weights = np.where((places >= first[:, None]) & (places < last[:, None]), weights, 0.0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _separable(kind: str, n: int) -> Any:
    def resample(
        input: Any, output_size: Any = None, align_corners: bool = False, scales: Any = None, *more: Any
    ) -> Any:
        if not input.dtype.is_floating_point:
            raise NotImplementedError("resampling of integers")
        sizes, factors = _sizes(input, n, output_size, (scales, *more) if more else scales)
        y = cast(input, _dtypes.float32) if input.dtype.itemsize < 4 else input
        for i, (out, factor) in enumerate(zip(sizes, factors, strict=True)):
            d = len(raw_shape(input)) - n + i
            weights = wrap(from_numpy(_matrix(kind, raw_shape(input)[d], out, bool(align_corners), factor).T.copy()))
            y = (y.transpose(d, -1) @ cast(weights, y.dtype)).transpose(d, -1)
        return cast(y.contiguous(), input.dtype)

    resample.__doc__ = f"{kind.capitalize()} resampling over the last {n} dimensions."
    return resample


op("_C._nn.upsample_linear1d")(_separable("linear", 1))
op("_C._nn.upsample_bilinear2d")(_separable("linear", 2))
op("_C._nn.upsample_trilinear3d")(_separable("linear", 3))
op("_C._nn.upsample_bicubic2d")(_separable("cubic", 2))
op("_C._nn._upsample_bilinear2d_aa")(_separable("linear antialiased", 2))
op("_C._nn._upsample_bicubic2d_aa")(_separable("cubic antialiased", 2))
op("_C._nn._upsample_lanczos2d_aa")(_separable("lanczos antialiased", 2))
