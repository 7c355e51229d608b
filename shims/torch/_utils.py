"""torch._utils: the few helpers that pure Python code of PyTorch imports."""

from typing import Any

from torch._utils import ExceptionWrapper, KeyErrorMessage, cpu_count  # noqa: F401  (they hold no tensors)

from ._device import HOME


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    return HOME.index or 0


def _get_available_device_type() -> str | None:
    return None


def _get_all_device_indices() -> list[int]:
    return []


def _flatten_dense_tensors(tensors: Any) -> Any:
    from . import cat

    return cat([t.reshape(-1) for t in tensors])


def _unflatten_dense_tensors(flat: Any, tensors: Any) -> tuple:
    out, at = [], 0
    for t in tensors:
        out.append(flat[at : at + t.numel()].view(t.shape))
        at += t.numel()
    return tuple(out)


def is_compiling() -> bool:
    """Always False."""
    return False
