"""What the operator files share: argument handling and the host path for small CPU work."""

import functools
from typing import Any

import numpy as np

from .. import _dtypes
from .._inplace import from_numpy, records
from .._inplace import memory as bits
from .._ms import (
    ON_CPU,
    CaptureError,
    MsParameter,
    MsTensor,
    TensorPy,
    capturing,
    grad_enabled,
    jit_state,
    ms,
    ops,
    raw_dtype,
    raw_requires_grad,
    raw_shape,
    traced,
)
from .._registry import op, wrap
from .._views import zeros

__all__ = [
    "ON_CPU", "CaptureError", "bits", "capturing", "QUIET", "MsParameter", "MsTensor", "TensorPy", "cast", "dims", "from_numpy", "host", "host_pair", "is_tensor", "memory", "ms", "np", "on_host", "op",  # noqa: E501
    "ops", "raw_dtype", "raw_shape", "readable", "records", "shape_args", "traced", "widened", "wrap", "zeros",
]  # fmt: skip


def is_tensor(x: Any) -> bool:
    """Whether `x` is a tensor or parameter."""
    return isinstance(x, TensorPy)


def host(*tensors: Any) -> bool:
    """Whether numpy may compute on the tensors' own memory: on the CPU, when neither autograd nor jit watches.

    MindSpore's CPU operators cost 30 to 800 us a call whatever their size; numpy's about ten.
    """
    if not ON_CPU or (jit_state._jit_context is not None and capturing() and any(traced(t) for t in tensors)):
        return False
    watched = False
    for t in tensors:
        if raw_dtype(t) is _BF16:
            return False
        watched = watched or raw_requires_grad(t)
    return not (watched and grad_enabled())


def host_pair(a: Any, b: Any) -> bool:
    """`host` for two tensors that are not bfloat16, which most operators have."""
    if not ON_CPU:
        return False
    if jit_state._jit_context is not None:
        return host(a, b)
    return not (grad_enabled() and (raw_requires_grad(a) or raw_requires_grad(b)))


def on_host(*tensors: Any) -> bool:
    """Whether numpy may compute on the tensors' memory if the result is made a node of the graph (an MsFunction)."""
    return ON_CPU and not capturing() and all(raw_dtype(t) is not _BF16 for t in tensors)


def readable(*tensors: Any) -> bool:
    """Whether numpy may look at the tensors' values, to check them say: on the CPU, unless a graph is captured."""
    return ON_CPU and (not capturing() or not any(traced(t) for t in tensors))


_BF16 = ms.bfloat16
QUIET = [8192, 0, None]
"""A ufunc's `extobj` without floating point warnings: what np.errstate does, at a fifth of an operator's price."""


def memory(x: Any) -> np.ndarray:
    """A numpy array on the memory of a CPU tensor, or a copy of what is on a device.

    Raises NotImplementedError for bfloat16, which numpy lacks.
    An operator that cannot do without then runs in PyTorch; `bits` gives the raw 16 bits to those that only move them.
    """
    if raw_dtype(x) is _BF16:
        raise NotImplementedError("numpy has no bfloat16")
    if not ON_CPU:  # the values, copied from the device; nothing can be written there by way of them
        a = MsTensor.asnumpy(x)
        a.flags.writeable = False
        return a
    return bits(x)


def cast(x: Any, dtype: _dtypes.dtype) -> Any:
    """`x` as `dtype`; the same tensor if it has it already."""
    if dtype.ms is raw_dtype(x):
        return x
    if dtype.ms is None:
        raise TypeError(f"{dtype} has no counterpart in MindSpore")
    return wrap(_cast(x, dtype))


def _cast(x: Any, dtype: _dtypes.dtype) -> Any:
    if dtype.name == "bfloat16" or raw_dtype(x) is _BF16:
        return _cast_bf16(x, dtype)
    if host(x):
        return from_numpy(_numpy_cast(memory(x), dtype))
    if ON_CPU and (dtype.is_complex or x.dtype.is_complex):
        from .complexes import convert  # which needs this module

        return convert(x, dtype)
    return ops.cast(x, dtype.ms)


def _numpy_cast(a: np.ndarray, dtype: _dtypes.dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        if a.dtype.kind == "f" and dtype.np.kind in "iu" and dtype.np.itemsize < 8:
            return a.astype(np.int64).astype(dtype.np)
        return a.astype(dtype.np)


def _cast_bf16(x: Any, dtype: _dtypes.dtype) -> Any:
    """To and from bfloat16 directly, never by way of float16: 1e20 stays 1e20."""
    if not ON_CPU or records(x) or (capturing() and traced(x)):
        return ops.cast(x, dtype.ms)
    from .. import _fallback

    return _fallback.from_real(_fallback.to_real(x).to(_fallback._TO_REAL[dtype.name]))


def widened(fn: Any) -> Any:
    """An operator that computes in float32 for half precision, as PyTorch's do; the result has the input's dtype."""

    @functools.wraps(fn)
    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = _dtypes.BY_MS[raw_dtype(input)]
        if not dtype.is_floating_point or dtype.itemsize > 2:
            return fn(input, *args, **kwargs)
        args = tuple(_wide(a) for a in args)
        result = fn(cast(input, _dtypes.float32), *args, **{k: _wide(v) for k, v in kwargs.items()})
        return cast(wrap(result), dtype)

    return call


def _wide(x: Any) -> Any:
    half = is_tensor(x) and _dtypes.BY_MS[raw_dtype(x)] in (_dtypes.float16, _dtypes.bfloat16)
    return cast(x, _dtypes.float32) if half else x


def shape_args(args: tuple) -> tuple[int, ...]:
    """`f(2, 3)`, `f((2, 3))` and `f(Size)` alike; elements may be 0-d tensors."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    return tuple([int(a) for a in args])


def dims(dim: Any, rank: int) -> tuple[int, ...]:
    """Normalised dimensions; None or () means all. Raises IndexError as torch does."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    many = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    out = []
    for d in many:
        d = int(d)
        span = max(rank, 1)
        if not -span <= d < span:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {d})")
        out.append(d % span)
    return tuple(out)
