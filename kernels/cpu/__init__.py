"""Kernels for the CPU: numpy and BLAS on the tensors' own memory, one call for what would be five to ten operators.

They need no compiler, take float32 that no gradient is recorded for, and leave everything else to upstream's own code
(training, half precision, graph capture). A C++ kernel may take the place of any of them under the same contract.
"""

from typing import Any

from hf_ascend.torch import _dtypes
from hf_ascend.torch._meta import among
from hf_ascend.torch._ops._common import host


def check(args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """The contract that these kernels share: the reason against a call, or None."""
    tensors = [a for a in args if a is not None]
    if any(t.dtype is not _dtypes.float32 for t in tensors if t.dtype is not _dtypes.bool):
        return "not float32"
    if not host(*tensors):
        return "a gradient is recorded, or a graph captured"
    return "no values (meta tensors)" if among(args, {}) else None
