"""torch.amp: see `torch.autocast`."""

from typing import Any

from .. import autocast
from . import autocast_mode
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "autocast_mode", "custom_bwd", "custom_fwd", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast can change anything: on Ascend."""
    from .._ms import ON_CPU

    return not ON_CPU


def custom_fwd(fwd: Any = None, **kwargs: Any) -> Any:
    """Leaves a Function's forward as it is."""
    return fwd if fwd is not None else lambda f: f


custom_bwd = custom_fwd
