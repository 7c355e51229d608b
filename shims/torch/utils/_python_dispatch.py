"""torch.utils._python_dispatch: PyTorch's dispatcher modes, which do not exist here."""

from typing import Any


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """Never."""
    return False


def _get_current_dispatch_mode_stack() -> list:
    return []


class TorchDispatchMode:
    """Interception of operators, which does not exist here; entering one changes nothing."""

    def __enter__(self) -> "TorchDispatchMode":
        return self

    def __exit__(self, *exc: object) -> None:
        pass
