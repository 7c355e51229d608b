"""torch.utils: what is pure Python is executed; this file replaces an __init__ that loads PyTorch's C++ tools."""

from typing import Any

from .._ms import exchange_impl
from . import hooks


def swap_tensors(t1: Any, t2: Any) -> None:
    """Exchange two tensors' contents and place in the graph."""
    exchange_impl(t1, t2)


def set_module(obj: Any, mod: str) -> None:
    """Set where a public name says it comes from."""
    obj.__module__ = mod


def __getattr__(name: str) -> Any:
    if name in (
        "data",
        "checkpoint",
        "_pytree",
        "_foreach_utils",
        "_python_dispatch",
        "cpp_extension",
        "tensorboard",
        "backend_registration",
    ):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.utils' has no attribute {name!r}")


__all__ = ["hooks", "set_module", "swap_tensors"]
