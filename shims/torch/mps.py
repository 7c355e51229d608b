"""torch.mps, and torch.xpu: devices that are never present beside MindSpore."""

from typing import Any


def is_available() -> bool:
    """Always False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def empty_cache() -> None:
    """Nothing to empty."""


def current_allocated_memory(*args: Any) -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing to seed."""


manual_seed_all = manual_seed


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from hf_ascend.retarget.finder import placeholder

    return placeholder(f"torch.{name} of that device", "there is no such device beside MindSpore")
