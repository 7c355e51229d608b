"""torch.compiler: nothing is compiled by PyTorch here."""

from typing import Any

from ._jit_internal import _same
from ._ms import capturing


def is_compiling() -> bool:
    """Whether a graph is captured, by `mindspore.jit(capture_mode="trace")`: then values must not decide what runs."""
    return capturing()


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """Always False."""
    return False


disable = allow_in_graph = assume_constant_result = substitute_in_graph = set_stance = _same


def reset() -> None:
    """Nothing to reset."""


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark."""


def list_backends(*args: Any) -> list[str]:
    """No backends."""
    return []
