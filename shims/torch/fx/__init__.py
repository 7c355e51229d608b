"""torch.fx: `wrap` leaves a function alone, because nothing here is traced by PyTorch; the rest is absent."""

from typing import Any

from hf_ascend.retarget.finder import placeholder


def wrap(fn_or_name: Any) -> Any:
    """The function."""
    return fn_or_name


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(f"torch.fx.{name}", "graphs are captured by MindSpore")
