"""torch.npu: the process's accelerator under torch_npu's name; the same as torch.cuda."""

from typing import Any

from ..amp import GradScaler, autocast
from ..cuda import *  # noqa: F403
from ..cuda import __getattr__  # noqa: F401


class amp:
    """torch.npu.amp: torch.amp without the name of the device."""

    class autocast(autocast):
        """torch.autocast("npu", ...)."""

        def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool | None = None) -> None:
            super().__init__("npu", dtype, enabled, cache_enabled)

    class GradScaler(GradScaler):  # type: ignore[misc]
        """torch.amp.GradScaler("npu", ...)."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__("npu", *args, **kwargs)
