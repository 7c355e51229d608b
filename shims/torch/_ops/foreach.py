"""torch._foreach_*: one operator over lists of tensors, as optimizers and clipping use them."""

from collections.abc import Callable
from typing import Any

from .._registry import NAMESPACE, lookup
from ._common import is_tensor

_NAMES = (
    "abs", "add", "addcdiv", "addcmul", "clamp_max", "clamp_min", "div", "exp", "lerp", "maximum", "minimum", "mul", "neg",  # noqa: E501
    "norm", "pow", "reciprocal", "rsqrt", "sign", "sqrt", "sub",
)  # fmt: skip


def _rows(tensors: Any, args: tuple) -> Any:
    """The arguments per tensor: lists go along, anything else is the same for all."""
    for i, t in enumerate(tensors):
        yield t, [a[i] if isinstance(a, (list, tuple)) else a for a in args]


def _each(name: str) -> Callable[..., list]:
    fn = lookup(name)

    def call(tensors: Any, *args: Any, **kwargs: Any) -> list:
        if name in ("addcmul", "addcdiv") and len(args) == 3 and not is_tensor(args[2]):
            *args_, value = args
            return [
                fn(t, *row, value=v[0])
                for (t, row), (_, v) in zip(_rows(tensors, tuple(args_)), _rows(tensors, (value,)), strict=True)
            ]
        return [fn(t, *row, **kwargs) for t, row in _rows(tensors, args)]

    call.__doc__ = f"torch.{name} of every tensor in a list."
    return call


def _in_place(name: str, make: Callable[..., list]) -> Callable[..., None]:
    def call(tensors: Any, *args: Any, **kwargs: Any) -> None:
        for t, value in zip(tensors, make(tensors, *args, **kwargs), strict=True):
            t.copy_(value)

    call.__doc__ = f"torch.{name} of every tensor in a list, in place."
    return call


for _name in _NAMES:
    _fn = _each(_name)
    NAMESPACE["_foreach_" + _name] = _fn
    NAMESPACE[f"_foreach_{_name}_"] = _in_place(_name, _fn)


def _zero(tensors: Any) -> None:
    """Set every tensor in a list to zero."""
    for t in tensors:
        t.zero_()


def _copy(tensors: Any, sources: Any, non_blocking: bool = False) -> None:
    """Copy a list of tensors into another."""
    for t, s in zip(tensors, sources, strict=True):
        t.copy_(s)


NAMESPACE["_foreach_zero_"], NAMESPACE["_foreach_copy_"] = _zero, _copy
