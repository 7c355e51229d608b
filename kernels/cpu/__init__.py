"""Kernels for the CPU, on the tensors' own memory, one call for what would be five to ten operators.

Where a gradient is recorded, and for attention always, PyTorch's kernels compute, as one node of the graph; numpy does
the rest. They need no compiler, take float32, and leave everything else to upstream's own code (half precision, graph
capture). A C++ kernel may take the place of any of them under the same contract.
"""

from typing import Any

from hf_ascend.torch import _dtypes
from hf_ascend.torch._meta import among
from hf_ascend.torch._ops._common import on_host


def check(args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """The contract that these kernels share: the reason against a call, or None."""
    tensors = [a for a in args if a is not None]
    if any(t.dtype is not _dtypes.float32 for t in tensors if t.dtype is not _dtypes.bool):
        return "not float32"
    if not on_host(*tensors):
        return "a graph is captured"
    return "no values (meta tensors)" if among(args, {}) else None
