"""torch.cpu: streams and devices of the CPU, of which there is one."""

import contextlib
from typing import Any


def is_available() -> bool:
    """Always True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """The CPU."""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """CPU operators have finished when they return."""


Stream = contextlib.nullcontext
