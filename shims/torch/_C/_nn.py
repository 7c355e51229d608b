"""torch._C._nn: the operators behind torch.nn.functional, from the registry."""

from typing import Any

from .._registry import lookup


def _parse_to(*args: Any, **kwargs: Any) -> tuple:
    """What the arguments of `Module.to` mean: (device, dtype, non_blocking, memory_format)."""
    from .. import _dtypes
    from .._device import device as make_device
    from .._tensor import Tensor

    where, dtype = kwargs.get("device"), kwargs.get("dtype")
    for a in args:
        if isinstance(a, Tensor):
            where, dtype = a.device, a.dtype
        elif isinstance(a, bool) or a is None:
            continue
        elif isinstance(a, (str, int)) or type(a).__name__ == "device":
            where = a
        else:
            dtype = a
    return (
        None if where is None else make_device(str(where) if not isinstance(where, int) else where),
        None if dtype is None else _dtypes.as_dtype(dtype),
        kwargs.get("non_blocking", False),
        kwargs.get("memory_format"),
    )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lookup("_C._nn." + name)
