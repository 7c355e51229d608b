"""Random tensors. On the CPU the numbers are PyTorch's own for the same seed, from a generator of ours."""

from typing import Any

import numpy as np
import torch as real

from .. import _dtypes, _fallback
from .._device import wants_meta
from .._inplace import assign, is_meta, records, write
from .._ms import refuse_random
from .._views import touched
from ._common import is_tensor, raw_shape, shape_args, wrap
from ._common import op as register
from .creation import filled


class Generator:
    """torch.Generator: a stream of random numbers of its own. PyTorch's global stream is never touched."""

    def __init__(self, device: Any = "cpu"):
        self.real = real.Generator()
        from .._device import device as make

        self.device = make(device)

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream anew from `seed`."""
        self.real.manual_seed(int(seed))
        return self

    def seed(self) -> int:
        """Start the stream from a seed of the operating system's, and return it."""
        return self.real.seed()

    def initial_seed(self) -> int:
        """The seed the stream started from."""
        return self.real.initial_seed()

    def get_state(self) -> Any:
        """The state as a uint8 tensor."""
        return wrap(_fallback.from_real(self.real.get_state()))

    def set_state(self, state: Any) -> "Generator":
        """Continue from a state that `get_state` gave."""
        self.real.set_state(_fallback.to_real(state) if is_tensor(state) else state)
        return self


default_generator = Generator()
default_generator.seed()


def _stream(generator: Any) -> real.Generator:
    refuse_random()
    if generator is None:
        return default_generator.real
    return generator.real if isinstance(generator, Generator) else generator


def _real_dtype(dtype: Any) -> real.dtype:
    return _fallback._TO_REAL[(_dtypes.as_dtype(dtype) if dtype is not None else _dtypes.get_default_dtype()).name]


def _strided(x: Any, dtype: Any = None) -> real.Tensor:
    """A PyTorch tensor with the shape and the strides of `x`.

    PyTorch draws in the order of memory, so a transposed tensor gets other numbers than a contiguous one.
    """
    return real.empty_strided(tuple(raw_shape(x)), tuple(x.stride()), dtype=_real_dtype(dtype or x.dtype))


def laid_out_like(x: Any, dtype: Any = None) -> real.Tensor:
    """A PyTorch tensor with the shape of `x` and the memory layout that torch.empty_like gives it."""
    pattern = _strided(x, dtype)
    return pattern if pattern.is_contiguous() else real.empty_like(pattern)


def _sized(name: str, fn: Any, fill: Any) -> None:
    def create(
        *size: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        generator: Any = None,
        **ignored: Any,
    ) -> Any:
        if "size" in ignored:
            size = (ignored["size"],)
        shape = shape_args(size)
        if wants_meta(device):
            return filled(None, shape, dtype=dtype, device="meta", requires_grad=requires_grad)
        x = wrap(_fallback.from_real(fn(shape, dtype=_real_dtype(dtype), generator=_stream(generator))))
        return x.requires_grad_(True) if requires_grad else x

    def like(
        input: Any,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        generator: Any = None,
        **ignored: Any,
    ) -> Any:  # noqa: A002
        if wants_meta(device) or is_meta(input):
            return create(tuple(raw_shape(input)), dtype=dtype or input.dtype, device="meta")
        made = fill(laid_out_like(input, dtype), generator=_stream(generator))
        x = wrap(_fallback.from_real(made))
        return x.requires_grad_(True) if requires_grad else x

    register(name)(create)
    register(name + "_like")(like)


_sized("rand", real.rand, real.Tensor.uniform_)
_sized("randn", real.randn, real.Tensor.normal_)


@register("randint")
def randint(
    *args: Any,
    low: Any = None,
    high: Any = None,
    size: Any = None,
    dtype: Any = None,
    generator: Any = None,
    device: Any = None,
    **ignored: Any,
) -> Any:
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    values = list(args)
    if values and isinstance(values[-1], (tuple, list)) and size is None:
        size = values.pop()
    if len(values) == 2:
        low, high = values
    elif len(values) == 1:
        low, high = (values[0], high) if high is not None else (low or 0, values[0])
    x = real.randint(
        int(low or 0), int(high), tuple(size), generator=_stream(generator), dtype=_real_dtype(dtype or "int64")
    )
    return _fallback.from_real(x)


@register("randint_like")
def randint_like(
    input: Any,
    low: Any,
    high: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    generator: Any = None,
    **ignored: Any,
) -> Any:  # noqa: A002
    """`randint` with the shape and dtype of `input`."""
    low, high = (0, low) if high is None else (low, high)
    made = laid_out_like(input, dtype).random_(int(low), int(high), generator=_stream(generator))
    return _fallback.from_real(made)


@register("randperm")
def randperm(n: int, *, generator: Any = None, dtype: Any = None, device: Any = None, **ignored: Any) -> Any:
    """A random order of 0 to n - 1."""
    return _fallback.from_real(real.randperm(n, generator=_stream(generator), dtype=_real_dtype(dtype or "int64")))


@register("normal")
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    **ignored: Any,
) -> Any:
    """Normal numbers; mean and std are numbers or tensors."""
    if is_tensor(mean) or is_tensor(std):
        mean, std = (v.detach() if is_tensor(v) else v for v in (mean, std))
        shape = np.broadcast_shapes(*(tuple(raw_shape(v)) for v in (mean, std) if is_tensor(v)))
        like = _real_dtype((mean if is_tensor(mean) else std).dtype)
        x = wrap(_fallback.from_real(real.empty(shape, dtype=like).normal_(generator=_stream(generator))))
        return x * std + mean
    return _fallback.from_real(
        real.normal(mean, std, tuple(size), generator=_stream(generator), dtype=_real_dtype(dtype))
    )


@register("multinomial")
def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Any:  # noqa: A002
    """Indices drawn with the given weights, (rows, num_samples) int64."""
    return _fallback.from_real(
        real.multinomial(_fallback.to_real(input), num_samples, replacement, generator=_stream(generator))
    )


@register("bernoulli")
def bernoulli(input: Any, p: Any = None, *, generator: Any = None) -> Any:  # noqa: A002
    """1 with probability `input` (or p), else 0."""
    source = _fallback.to_real(input)
    return _fallback.from_real(
        real.bernoulli(source, generator=_stream(generator))
        if p is None
        else laid_out_like(input).bernoulli_(p, generator=_stream(generator))
    )


def _filling(name: str) -> None:
    def fill(self: Any, *args: Any, generator: Any = None, **kwargs: Any) -> Any:
        if is_meta(self):
            return self
        args = tuple(_fallback.to_real(a) if is_tensor(a) else a for a in args)
        stream = _stream(generator)
        if records(self):
            made = getattr(_strided(self), name)(*args, generator=stream, **kwargs)
            return assign(self, wrap(_fallback.from_real(made)))
        # The tensor's own memory, unless DLPack would have to copy.
        shared = _fallback.to_real(self) if self.is_contiguous() else _strided(self)
        getattr(shared, name)(*args, generator=stream, **kwargs)
        if not shared.numel() or shared.data_ptr() != self.data_ptr():
            write(self, wrap(_fallback.from_real(shared)))
        else:
            touched(self)
        return self

    fill.__doc__ = f"Fill with random numbers as torch.Tensor.{name}."
    register("Tensor." + name)(fill)


for _name in ("uniform_", "normal_", "random_", "exponential_", "bernoulli_", "cauchy_", "log_normal_", "geometric_"):
    _filling(_name)


def dropout_mask(like: Any, p: float, shape: tuple[int, ...] | None = None) -> Any:
    """PyTorch's own dropout decision for the stream's state: zeros and ones laid out like `like`, or of `shape`."""
    refuse_random()
    empty = laid_out_like(like, _dtypes.float32) if shape is None else real.empty(shape)
    return wrap(_fallback.from_real(empty.bernoulli_(1 - p, generator=default_generator.real)))


def stream_seeds() -> tuple[int, int]:
    """Two numbers of torch's stream, for an operator of MindSpore's with a stream of its own."""
    a, b = real.randint(1, 2**31 - 1, (2,), generator=default_generator.real).tolist()
    return a, b
