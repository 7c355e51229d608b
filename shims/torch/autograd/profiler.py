"""torch.autograd.profiler: only the context managers that code enters unconditionally."""

import contextlib
from typing import Any


class record_function(contextlib.ContextDecorator):
    """A named range; profiling itself is MindSpore's (mindspore.profiler)."""

    def __init__(self, name: str, args: Any = None):
        self.name = name

    def __enter__(self) -> "record_function":
        return self

    def __exit__(self, *exc: object) -> None:
        pass
