"""The state of autocast. It casts no operator on any device, which is said once."""

import logging
from typing import Any

from .._ms import ON_CPU

_stack: list[tuple[bool, Any]] = []
_said = False


def tell() -> None:
    """Say once what becomes of autocast."""
    global _said
    if not _said:
        _said = True
        logging.getLogger("hf_ascend").warning(
            "autocast (bf16=True, fp16=True) has no effect here: %s. On Ascend, too, operators compute in the dtype of "
            'the weights: for bfloat16 load the model with dtype="bfloat16" there.',
            "on the CPU everything goes on in float32" if ON_CPU else "no operator is cast",
        )


def push(on: bool, dtype: Any) -> None:
    """Enter a region."""
    if on:
        tell()
    _stack.append((on and not ON_CPU, dtype))


def pop() -> None:
    """Leave a region."""
    _stack.pop()


def enabled() -> bool:
    """Whether a region is in force that changes dtypes."""
    return bool(_stack) and _stack[-1][0]
