"""torch._VF: operators under their C++ names, from the registry."""

from typing import Any

from ._registry import lookup


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lookup(name)
