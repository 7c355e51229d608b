"""Fourier transforms, complex numbers and their parts, window functions.

On the CPU a transform is one node: numpy computes it (in double precision), and its gradient is the adjoint map, which
is a node too. On Ascend they are `mindspore.ops`' functions of the same names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch as real

from .. import _dtypes, _fallback
from .._ms import MsFunction
from ._common import ON_CPU, cast, dims, from_numpy, memory, np, op, ops, raw_shape, wrap
from .shape import stack, view_as_complex, view_as_real

_NORMS = {None: "backward", "backward": "backward", "forward": "forward", "ortho": "ortho"}
_ADJOINT = {"backward": "forward", "forward": "backward", "ortho": "ortho"}
"""The adjoint of a transform is the one in the other direction, scaled the other way."""


class _Linear(MsFunction):
    """A map on numpy arrays that is linear over the real numbers, and its adjoint, as one node."""

    @staticmethod
    def forward(ctx: Any, x: Any, fn: Callable, adjoint: Callable) -> Any:
        ctx.fn, ctx.adjoint = fn, adjoint
        return from_numpy(np.array(fn(memory(x)), order="C"))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _Linear.apply(wrap(grad), ctx.adjoint, ctx.fn), None, None


def _complex_dtype(d: Any) -> Any:
    return np.complex128 if d in (np.float64, np.complex128) else np.complex64


def _real_dtype(d: Any) -> Any:
    return np.float64 if d in (np.float64, np.complex128) else np.float32


def _fit(a: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`a` cropped, or padded with zeros at the end, to `shape`."""
    if a.shape == tuple(shape):
        return a
    a = a[tuple(slice(0, n) for n in shape)]
    return np.pad(a, [(0, n - m) for n, m in zip(shape, a.shape, strict=True)])


def _promoted(x: Any) -> Any:
    if x.dtype in (_dtypes.float16, _dtypes.bfloat16):
        raise RuntimeError(f"Unsupported dtype {x.dtype}: Fourier transforms need float32 or float64")
    return x if x.dtype.is_floating_point or x.dtype.is_complex else cast(x, _dtypes.get_default_dtype())


def _sizes(x: Any, s: Any, dim: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(axes, sizes) of the transform."""
    shape = tuple(raw_shape(x))
    if dim is None:
        axes = tuple(range(len(shape))) if s is None else tuple(range(len(shape) - len(s), len(shape)))
    else:
        axes = dims(dim, len(shape)) if not isinstance(dim, (tuple, list)) or dim else ()
    if len(set(axes)) != len(axes) or any(a < 0 for a in axes):
        raise RuntimeError("FFT dims must be unique")
    if s is not None and len(s) != len(axes):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    sizes = tuple(shape[a] if s is None or n == -1 else int(n) for a, n in zip(axes, s or axes, strict=True))
    return axes, sizes


def _check(sizes: tuple[int, ...], norm: Any) -> str:
    if any(n < 1 for n in sizes):
        raise RuntimeError(f"Invalid number of data points ({min(sizes)}) specified")
    if norm not in _NORMS:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return _NORMS[norm]


def _with(shape: tuple[int, ...], axes: tuple[int, ...], sizes: Sequence[int]) -> tuple[int, ...]:
    out = list(shape)
    for a, n in zip(axes, sizes, strict=True):
        out[a] = n
    return tuple(out)


def _c2c(x: Any, s: Any, dim: Any, norm: Any, inverse: bool) -> Any:
    """Complex to complex over `dim`."""
    x = _promoted(x)
    axes, sizes = _sizes(x, s, dim)
    norm = _check(sizes, norm)
    shape, is_real = tuple(raw_shape(x)), not x.dtype.is_complex
    full, kind, back = _with(shape, axes, sizes), _complex_dtype(x.dtype.np), x.dtype.np
    there, here = (np.fft.ifftn, np.fft.fftn) if inverse else (np.fft.fftn, np.fft.ifftn)

    def fn(a: np.ndarray) -> np.ndarray:
        return there(_fit(a, full), axes=axes, norm=norm).astype(kind)

    def adjoint(g: np.ndarray) -> np.ndarray:
        out = _fit(here(g, axes=axes, norm=_ADJOINT[norm]), shape)
        return (out.real if is_real else out).astype(back)

    return _Linear.apply(x, fn, adjoint)


def _r2c(x: Any, s: Any, dim: Any, norm: Any, conjugate: bool = False) -> Any:
    """Real to the non-negative half of the spectrum; the last of `dim` is the halved one."""
    x = _promoted(x)
    if x.dtype.is_complex:
        raise RuntimeError("rfft expects a real input tensor, but got " + str(x.dtype))
    axes, sizes = _sizes(x, s, dim)
    norm = _check(sizes, norm)
    if not axes:
        raise RuntimeError("at least one axis must be transformed")
    shape, kind, back = tuple(raw_shape(x)), _complex_dtype(x.dtype.np), x.dtype.np
    full = _with(shape, axes, sizes)

    def fn(a: np.ndarray) -> np.ndarray:
        y = np.fft.rfftn(_fit(a, full), axes=axes, norm=norm).astype(kind)
        return np.conj(y) if conjugate else y

    def adjoint(g: np.ndarray) -> np.ndarray:
        g = np.conj(g) if conjugate else g
        return _fit(np.fft.ifftn(_fit(g, full), axes=axes, norm=_ADJOINT[norm]).real, shape).astype(back)

    return _Linear.apply(x, fn, adjoint)


def _c2r(x: Any, s: Any, dim: Any, norm: Any, conjugate: bool = False) -> Any:
    """The non-negative half of a spectrum to real; the last of `dim` is the halved one, of 2 (n - 1) unless given."""
    x = _promoted(x)
    axes, sizes = _sizes(x, s, dim)
    if not axes:
        raise RuntimeError("at least one axis must be transformed")
    if s is None or s[-1] == -1:
        sizes = (*sizes[:-1], 2 * (raw_shape(x)[axes[-1]] - 1))
    norm = _check(sizes, norm)
    shape, kind, back, is_real = tuple(raw_shape(x)), _real_dtype(x.dtype.np), x.dtype.np, not x.dtype.is_complex
    last, n = axes[-1], sizes[-1]
    half = _with(shape, axes, (*sizes[:-1], n // 2 + 1))
    weight = np.full(n // 2 + 1, 2.0)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    weight = weight.reshape([-1 if d == last else 1 for d in range(len(shape))])

    def fn(a: np.ndarray) -> np.ndarray:
        a = np.conj(a) if conjugate else a
        inner = np.fft.ifftn(_fit(a, half), axes=axes[:-1], norm=norm) if axes[:-1] else _fit(a, half)
        return np.fft.irfft(inner, n, last, norm).astype(kind)

    def adjoint(g: np.ndarray) -> np.ndarray:
        out = np.fft.rfft(g, n, last, _ADJOINT[norm]) * weight
        out = np.fft.fftn(out, axes=axes[:-1], norm=_ADJOINT[norm]) if axes[:-1] else out
        out = _fit(np.conj(out) if conjugate else out, shape)
        return (out.real if is_real else out).astype(back)

    return _Linear.apply(x, fn, adjoint)


def _register(name: str, core: Callable, **options: Any) -> None:
    """The transform over one dimension, over two, and over several."""

    def one(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
        if not ON_CPU:
            return getattr(ops, name)(input, n, dim, norm)
        return core(input, None if n is None else (n,), dim, norm, **options)

    def two(input: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
        if not ON_CPU:
            return getattr(ops, name + "2")(input, s, dim, norm)
        return core(input, s, dim, norm, **options)

    def several(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
        if not ON_CPU:
            return getattr(ops, name + "n")(input, s, dim, norm)
        return core(input, s, dim, norm, **options)

    op("fft." + name)(one)
    op(f"fft.{name}2")(two)
    op(f"fft.{name}n")(several)


_register("fft", _c2c, inverse=False)
_register("ifft", _c2c, inverse=True)
_register("rfft", _r2c)
_register("irfft", _c2r)


@op("fft.fftfreq")
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, **ignored: Any) -> Any:
    """The frequencies of `fft`'s bins, for samples `d` apart."""
    return cast(wrap(from_numpy(np.fft.fftfreq(n, d))), _wanted(dtype))


@op("fft.rfftfreq")
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, **ignored: Any) -> Any:
    """The frequencies of `rfft`'s bins."""
    return cast(wrap(from_numpy(np.fft.rfftfreq(n, d))), _wanted(dtype))


def _wanted(dtype: Any) -> Any:
    return _dtypes.get_default_dtype() if dtype is None else _dtypes.as_dtype(dtype)


def _shift(sign: int) -> Callable:
    def shift(input: Any, dim: Any = None) -> Any:
        axes = dims(dim, len(raw_shape(input)))
        sizes = [raw_shape(input)[a] for a in axes]
        return input.roll([n // 2 if sign > 0 else (n + 1) // 2 for n in sizes], axes)

    return shift


op("fft.fftshift")(_shift(1))
op("fft.ifftshift")(_shift(-1))


# ---- complex numbers and their parts
@op("conj", "conj_physical")
def conj(input: Any) -> Any:
    """The complex conjugate; real tensors as they are."""
    return conj_complex(input) if input.dtype.is_complex else input


def conj_complex(x: Any) -> Any:
    """The conjugate of a complex tensor."""
    return _Linear.apply(x, np.conj, np.conj) if ON_CPU else ops.conj(x)


@op("complex")
def complex(real: Any, imag: Any) -> Any:
    """real + i * imag."""
    if real.dtype is not imag.dtype:
        raise RuntimeError(f"Expected object of scalar type {real.dtype} but got scalar type {imag.dtype}")
    if real.dtype not in (_dtypes.float32, _dtypes.float64):
        raise RuntimeError(f"Expected both inputs to be Half, Float or Double tensors but got {real.dtype}")
    shape = np.broadcast_shapes(tuple(raw_shape(real)), tuple(raw_shape(imag)))
    real, imag = real.expand(shape), imag.expand(shape)
    if not ON_CPU:
        return ops.Complex()(real, imag)
    return view_as_complex.impls["any"](wrap(stack.impls["any"]([real, imag], -1)))


@op("polar")
def polar(abs: Any, angle: Any) -> Any:
    """abs * (cos(angle) + i sin(angle))."""
    if abs.dtype is not angle.dtype:
        raise RuntimeError(f"Expected object of scalar type {abs.dtype} but got scalar type {angle.dtype}")
    return complex.impls["any"](abs * angle.cos(), abs * angle.sin())


@op("angle")
def angle(input: Any) -> Any:
    """The angle of complex numbers; of real ones 0, or pi below zero."""
    if input.dtype.is_complex:
        parts = wrap(view_as_real.impls["any"](input))
        return parts[..., 1].atan2(parts[..., 0])
    x = input if input.dtype.is_floating_point else cast(input, _dtypes.get_default_dtype())
    flat = x * 0
    return flat.masked_fill(x.detach() < 0, float(np.pi)) + flat


# ---- windows, and transforms of short pieces
def _window(name: str) -> None:
    make = getattr(real, name)

    def window(
        window_length: int, *args: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **more: Any
    ) -> Any:
        kwargs = {k: v for k, v in more.items() if k not in ("layout", "pin_memory")}
        values = make(int(window_length), *args, dtype=_fallback._TO_REAL[_wanted(dtype).name], **kwargs)
        x = wrap(_fallback.from_real(values))
        return x.requires_grad_(True) if requires_grad else x

    window.__doc__ = f"torch.{name}; made on the host, as all of a window's values are."
    op(name)(window)


for _name in ("hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window"):
    _window(_name)


def _centred(window: Any, n_fft: int, like: Any) -> Any:
    """A window of the transform's length."""
    if window is None:
        return None
    size = raw_shape(window)[0]
    left = (n_fft - size) // 2
    from .neural import pad

    return wrap(pad.impls["any"](window, [left, n_fft - size - left])) if size < n_fft else window


@op("stft")
def stft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    """Spectra of windows `hop_length` apart: (samples) or (batch, samples) to (..., frequencies, windows), complex."""
    hop_length = n_fft // 4 if hop_length is None else int(hop_length)
    win_length = n_fft if win_length is None else int(win_length)
    if return_complex is None and not input.dtype.is_complex:
        raise RuntimeError("stft requires the return_complex parameter be given for real inputs")
    if len(raw_shape(input)) not in (1, 2):
        raise RuntimeError(f"stft expects a 1D or 2D tensor, got {len(raw_shape(input))}D")
    if hop_length <= 0 or not 0 < win_length <= n_fft:
        raise RuntimeError(f"stft: expected hop_length > 0 and 0 < win_length <= n_fft, got {hop_length}, {win_length}")
    if window is not None and tuple(raw_shape(window)) != (win_length,):
        raise RuntimeError(f"expected a 1D window tensor of size equal to win_length={win_length}")
    if input.dtype.is_complex or align_to_window:
        raise NotImplementedError("stft of complex signals")
    from .neural import pad

    x = input if len(raw_shape(input)) == 2 else input.unsqueeze(0)
    if center:
        edge = n_fft // 2
        x = wrap(pad.impls["any"](x.unsqueeze(1), [edge, edge], pad_mode)).squeeze(1)
    if raw_shape(x)[-1] < n_fft:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {raw_shape(x)[-1]}, but got n_fft={n_fft}")
    frames = x.unfold(-1, n_fft, hop_length)
    weights = _centred(window, n_fft, x)
    if weights is None and win_length < n_fft:
        weights = _centred(x.new_ones(win_length), n_fft, x)
    frames = (frames if weights is None else frames * weights).transpose(-2, -1)
    norm = "ortho" if normalized else None
    transform = fft_of("rfft" if onesided is not False else "fft")
    y = wrap(transform(frames, None, -2, norm))
    y = y if len(raw_shape(input)) == 2 else y.squeeze(0)
    return y if return_complex is not False else view_as_real.impls["any"](y)


def fft_of(name: str) -> Any:
    """The implementation of a registered transform."""
    from .._registry import REGISTRY

    return REGISTRY["fft." + name].impls["any"]


@op("istft")
def istft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    """The signal whose `stft` is nearest to the given one: windows added up and divided by the sum of their squares."""
    hop_length = n_fft // 4 if hop_length is None else int(hop_length)
    win_length = n_fft if win_length is None else int(win_length)
    if not input.dtype.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft")
    if return_complex or onesided is False:
        raise NotImplementedError("istft of two-sided spectra")
    x = input if len(raw_shape(input)) == 3 else input.unsqueeze(0)
    count = raw_shape(x)[-1]
    if raw_shape(x)[-2] != n_fft // 2 + 1:
        raise RuntimeError(f"istft: expected {n_fft // 2 + 1} frequencies for n_fft={n_fft}, got {raw_shape(x)[-2]}")
    frames = wrap(fft_of("irfft")(x, n_fft, -2, "ortho" if normalized else None)).transpose(-2, -1)
    weights = _centred(window, n_fft, frames)
    if weights is None:
        weights = _centred(frames.new_ones(win_length), n_fft, frames)
    total = n_fft + hop_length * (count - 1)
    places = np.arange(count)[:, None] * hop_length + np.arange(n_fft)
    index = wrap(from_numpy(places.reshape(-1)))
    batch = raw_shape(frames)[0]
    signal = frames.new_zeros((batch, total)).index_add(1, index, (frames * weights).reshape(batch, -1))
    envelope = weights.new_zeros(total).index_add(0, index, (weights * weights).expand(count, n_fft).reshape(-1))
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    signal, envelope = signal[:, start : min(end, total)], envelope[start : min(end, total)]
    if bool((envelope.detach().abs() < 1e-11).any()):
        raise RuntimeError("window overlap add min: 1")
    signal = signal / envelope
    if end > total:
        from .neural import pad

        signal = wrap(pad.impls["any"](signal, [0, end - total]))
    return signal if len(raw_shape(input)) == 3 else signal.squeeze(0)
