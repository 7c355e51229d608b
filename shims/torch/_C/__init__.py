"""torch._C: the names of PyTorch's C++ core that its Python code mentions."""

import contextlib
import enum
from typing import Any

from . import _nn

__all__ = ["_nn"]


class _ScalingType(enum.Enum):
    """Block scaling of quantised products, which MindSpore has no counterpart of."""

    TensorWise, RowWise, BlockWise1x16, BlockWise1x32, BlockWise1x128, BlockWise128x128 = range(6)


class _SwizzleType(enum.Enum):
    """Memory order of scaling blocks."""

    NO_SWIZZLE, SWIZZLE_32_4_4 = range(2)


DisableTorchFunctionSubclass = contextlib.nullcontext  # nothing calls __torch_function__ here


class ScriptMethod:
    """TorchScript's, for isinstance checks."""


class ScriptObject:
    """TorchScript's, for isinstance checks."""


def _add_docstr(fn: Any, doc: str) -> Any:
    return fn


def _log_api_usage_once(*args: Any) -> None:
    pass


def _get_tracing_state() -> None:
    return None


def _is_any_autocast_enabled() -> bool:
    from .. import is_autocast_enabled

    return is_autocast_enabled()


def _get_privateuse1_backend_name() -> str:
    return "npu"


def _is_torch_function_enabled() -> bool:
    return False


def _infer_size(a: Any, b: Any) -> Any:
    from .. import broadcast_shapes

    return broadcast_shapes(a, b)


def _group_tensors_by_device_and_dtype(tensorlistlist: Any, with_indices: bool = False) -> dict:
    """Lists of tensors (or None) side by side, grouped by the first list's device and dtype; empty lists stay empty."""
    groups: dict[Any, Any] = {}
    for i, first in enumerate(tensorlistlist[0]):
        lists, indices = groups.setdefault((first.device, first.dtype), ([[] for _ in tensorlistlist], []))
        for place, values in zip(lists, tensorlistlist, strict=True):
            if values:
                place.append(values[i])
        if with_indices:
            indices.append(i)
    return groups


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in ("Graph", "Value", "Node", "Block"):  # TorchScript's, in annotations of ONNX symbolics
        from hf_ascend.retarget.finder import placeholder

        return placeholder(f"torch._C.{name}", "graphs are captured by MindSpore")
    from .._registry import lookup

    return lookup("_C." + name)
