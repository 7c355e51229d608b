"""torch.accelerator: the process's accelerator, if it has one; see _accelerator."""

from typing import Any

from ._accelerator import *  # noqa: F403
from ._accelerator import current_device as current_device_index  # noqa: F401
from ._accelerator import set_device as set_device_index  # noqa: F401
from ._device import HOME
from ._ms import ON_CPU


def current_accelerator(check_available: bool = False) -> Any:
    """Its device, or None on the CPU."""
    return None if ON_CPU else HOME
