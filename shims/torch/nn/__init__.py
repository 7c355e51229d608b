"""torch.nn: upstream's modules, functional and init, executed. Upstream's __init__ also pulls in its quantisation."""

from . import parameter  # isort: skip  (this order, as upstream's: modules import functional, which needs them)
from .modules import *  # isort: skip  # noqa: F403
from . import functional, init, modules, utils
from .modules import Module
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter


def __getattr__(name: str) -> object:
    if name in ("attention", "parallel", "grad", "common_types"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    if name in ("DataParallel",):
        from .parallel import DataParallel

        return DataParallel
    raise AttributeError(f"module 'torch.nn' has no attribute {name!r}")


def factory_kwargs(kwargs: dict | None) -> dict:
    """The `device` and `dtype` among keyword arguments."""
    if kwargs is None:
        return {}
    known = {"device", "dtype", "memory_format"}
    if not kwargs.keys() <= {*known, "factory_kwargs"}:
        raise TypeError(f"unexpected kwargs {kwargs.keys() - {*known, 'factory_kwargs'}}")
    return dict(kwargs.get("factory_kwargs", {})) | {k: kwargs[k] for k in known if k in kwargs}


__all__ = [
    "Buffer",
    "Module",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parameter",
    "utils",
]
