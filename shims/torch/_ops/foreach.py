"""torch._foreach_*: one operator over lists of tensors, as optimizers and clipping use them.

On the CPU, where nothing is recorded, PyTorch runs once for the whole list, on the tensors' own memory. Else the
operator of that name runs for each tensor.
"""

from collections.abc import Callable
from typing import Any

import torch as real

from .._fallback import from_real
from .._inplace import records, to_shared
from .._ms import ON_CPU, capturing
from .._registry import NAMESPACE, lookup, wrap
from .._views import touched
from ._common import is_tensor

_NAMES = (
    "abs", "add", "addcdiv", "addcmul", "clamp_max", "clamp_min", "div", "exp", "lerp", "maximum", "minimum", "mul", "neg",  # noqa: E501
    "norm", "pow", "reciprocal", "rsqrt", "sign", "sqrt", "sub",
)  # fmt: skip


def _tensors(args: Any) -> Any:
    for a in args:
        yield from (t for t in (a if isinstance(a, (list, tuple)) else (a,)) if is_tensor(t))


def _at_once(args: tuple) -> bool:
    """Whether PyTorch may run on the memory of all tensors in `args`."""
    if not ON_CPU or capturing():
        return False
    return not any("_meta" in t.__dict__ or records(t) for t in _tensors(args))


def shared(args: Any) -> list:
    """`args`, with PyTorch's tensors on the same memory for tensors, also for those in lists."""

    def one(a: Any) -> Any:
        return to_shared(a) if is_tensor(a) else a

    return [[one(t) for t in a] if isinstance(a, (list, tuple)) else one(a) for a in args]


def _rows(tensors: Any, args: tuple) -> Any:
    """The arguments per tensor: lists go along, anything else is the same for all."""
    for i, t in enumerate(tensors):
        yield t, [a[i] if isinstance(a, (list, tuple)) else a for a in args]


def _each(name: str, tensors: Any, args: tuple, kwargs: dict) -> list:
    fn = lookup(name)
    if name in ("addcmul", "addcdiv") and len(args) == 3 and not is_tensor(args[2]):
        *args_, value = args
        return [
            fn(t, *row, value=v[0])
            for (t, row), (_, v) in zip(_rows(tensors, tuple(args_)), _rows(tensors, (value,)), strict=True)
        ]
    return [fn(t, *row, **kwargs) for t, row in _rows(tensors, args)]


def _new(name: str) -> Callable[..., tuple]:
    theirs = getattr(real, "_foreach_" + name)

    def call(tensors: Any, *args: Any, **kwargs: Any) -> tuple:
        if _at_once((tensors, *args)):
            with real.no_grad():
                return tuple(wrap(from_real(t)) for t in theirs(*shared((tensors, *args)), **kwargs))
        return tuple(_each(name, tensors, args, kwargs))

    call.__doc__ = f"torch.{name} of every tensor in a list."
    return call


def _in_place(name: str) -> Callable[..., None]:
    theirs = getattr(real, f"_foreach_{name}_", None)

    def call(tensors: Any, *args: Any, **kwargs: Any) -> None:
        if theirs is not None and _at_once((tensors, *args)):
            with real.no_grad():
                theirs(*shared((tensors, *args)), **kwargs)
            for t in tensors:
                touched(t)
            return
        for t, value in zip(tensors, _each(name, tensors, args, kwargs), strict=True):
            t.copy_(value)

    call.__doc__ = f"torch.{name} of every tensor in a list, in place."
    return call


for _name in _NAMES:
    NAMESPACE["_foreach_" + _name] = _new(_name)
    NAMESPACE[f"_foreach_{_name}_"] = _in_place(_name)


def _zero(tensors: Any) -> None:
    """Set every tensor in a list to zero."""
    for t in tensors:
        t.zero_()


def _copy(tensors: Any, sources: Any, non_blocking: bool = False) -> None:
    """Copy a list of tensors into another."""
    for t, s in zip(tensors, sources, strict=True):
        t.copy_(s)


NAMESPACE["_foreach_zero_"], NAMESPACE["_foreach_copy_"] = _zero, _copy
