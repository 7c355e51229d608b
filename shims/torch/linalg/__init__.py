"""torch.linalg: operators from the registry. Upstream's are C++ functions."""

from typing import Any

from .._registry import lookup


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lookup("linalg." + name)
