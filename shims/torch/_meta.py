"""Operators on meta tensors, which have shape and dtype but no values: PyTorch's own shape inference.

A meta tensor here lies in address space without memory, marked by `_meta`. An operator on one must neither
compute nor return something that looks real, so the call goes to PyTorch's operator on its meta device.
"""

from collections.abc import Callable
from typing import Any

import torch as real

from . import _dtypes, _fallback
from ._device import _stack
from ._ms import TensorPy, raw_dtype, raw_shape

_NOTHING: dict[str, Any] = {}


def knows(name: str) -> bool:
    """Whether the operator of this name handles meta tensors itself: in-place ones, and those that make new tensors."""
    short = name.rpartition(".")[2]
    in_place = short == "__setitem__" or (short.endswith("_") and not short.endswith("__")) or short in _AUGMENTED
    return in_place or short.endswith("_like") or short.startswith("new_")


_AUGMENTED = {f"__i{n}__" for n in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")}


def among(args: Any, kwargs: Any) -> bool:
    """Whether the call has a meta tensor among its arguments (looked for in depth only under a device context)."""
    if args and "_meta" in getattr(args[0], "__dict__", _NOTHING):
        return True
    return bool(_stack) and (_has(args) or _has(tuple(kwargs.values())))


def _has(values: Any) -> bool:
    for v in values:
        if isinstance(v, (tuple, list)) and _has(v):
            return True
        if isinstance(v, TensorPy) and "_meta" in v.__dict__:
            return True
    return False


def run(name: str, fn: Callable[..., Any] | None, args: Any, kwargs: Any) -> Any:
    """PyTorch's `fn` on its meta device, with results as our meta tensors."""
    if name == "_cast":
        fn = real.Tensor.to
    if fn is None:
        raise NotImplementedError(f"torch.{name} on a meta tensor, which has no values")
    tensors: list[Any] = []
    plan = _fallback._convert(args, tensors), _fallback._convert(kwargs, tensors)
    stand_ins = [
        real.empty(tuple(raw_shape(t)), dtype=_fallback._TO_REAL[_dtypes.BY_MS[raw_dtype(t)].name], device="meta")
        for t in tensors
    ]
    a, k = _fallback._fill(plan, stand_ins)
    if k.get("device") is not None:
        k["device"] = "meta"
    flat: list[real.Tensor] = []
    with real.no_grad():
        shape = _fallback._flatten(fn(*a, **k), flat)
    from ._ops.creation import meta

    return _fallback._fill(shape, [meta(tuple(t.shape), _dtypes.as_dtype(t.dtype)) for t in flat])
