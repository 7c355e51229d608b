"""torch.cuda: the process's accelerator, if it has one; see _accelerator."""

import contextlib
import importlib
from typing import Any

from .._accelerator import *  # noqa: F403
from .._accelerator import Event, OutOfMemoryError, Stream  # noqa: F401


class device(contextlib.nullcontext):  # noqa: N801
    """A context that would select a device; there is one."""

    def __init__(self, index: Any = None):
        super().__init__()


device_of = device


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name == "amp":  # upstream's, which needs all of torch
        return importlib.import_module(f"{__name__}.amp")
    from hf_ascend.retarget.finder import placeholder

    return placeholder(f"{__name__}.{name}".removeprefix("hf_ascend."))
