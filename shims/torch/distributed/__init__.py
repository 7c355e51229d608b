"""torch.distributed before a process group exists; the collectives are MindSpore's and come with parallel training."""

from typing import Any

from hf_ascend.retarget.finder import placeholder

_WHY = "process groups are MindSpore's (msrun); torch.distributed is not mapped onto them yet"


def is_available() -> bool:
    """False: process groups are not mapped yet, so code takes its single-process path."""
    return False


def is_initialized() -> bool:
    """Always False."""
    return False


is_torchelastic_launched = is_initialized


def get_rank(group: Any = None) -> int:
    """0."""
    return 0


def get_world_size(group: Any = None) -> int:
    """1."""
    return 1


def barrier(*args: Any, **kwargs: Any) -> None:
    """One process has nothing to wait for."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(f"torch.distributed.{name}", _WHY)
