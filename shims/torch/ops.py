"""torch.ops: operators defined through torch.library, as `torch.ops.namespace.name`."""

from typing import Any

from hf_ascend.retarget.finder import placeholder

from .library import OPERATORS


class _Namespace:
    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, op: str) -> Any:
        if op.startswith("__"):
            raise AttributeError(op)
        found = OPERATORS.get(f"{self._name}::{op}")
        return found if found is not None else placeholder(f"torch.ops.{self._name}.{op}", "PyTorch's dispatcher")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Namespace(name)
