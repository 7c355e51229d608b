"""The state of autocast. On the CPU it changes no dtype (float32 stays), which is said once."""

import logging
from typing import Any

from .._ms import ON_CPU

_stack: list[tuple[bool, Any]] = []
_said = False


def push(on: bool, dtype: Any) -> None:
    """Enter a region."""
    global _said
    if on and ON_CPU and not _said:
        _said = True
        logging.getLogger("hf_ascend").warning("autocast has no effect on the CPU: MindSpore computes in float32 there")
    _stack.append((on and not ON_CPU, dtype))


def pop() -> None:
    """Leave a region."""
    _stack.pop()


def enabled() -> bool:
    """Whether a region is in force that changes dtypes."""
    return bool(_stack) and _stack[-1][0]
