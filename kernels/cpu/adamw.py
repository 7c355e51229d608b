"""Adam and AdamW on the CPU: PyTorch's own fused kernel, once for all parameters, on their memory."""

from typing import Any

import torch as real

from hf_ascend.torch import _dtypes
from hf_ascend.torch._inplace import to_shared
from hf_ascend.torch._ms import MsTensor
from hf_ascend.torch._views import touched

_FLOATING = (_dtypes.float32, _dtypes.float64, _dtypes.bfloat16, _dtypes.float16)


def CONTRACT(args: tuple[Any, ...], options: dict[str, Any]) -> str | None:  # noqa: N802
    """The reason against a call, or None: what is written must be in order in memory."""
    written = [t for i, tensors in enumerate(args) if i not in (1, 5) for t in tensors]
    if any(t.dtype not in _FLOATING for t in written):
        return "not floating"
    return None if all(map(MsTensor.is_contiguous, written)) else "a parameter is not contiguous"


def adamw(*lists: list[Any], decoupled: bool = True, **options: Any) -> None:
    """See reference/adamw.py."""
    step = real._fused_adamw_ if decoupled else real._fused_adam_
    with real.no_grad():
        step(*([to_shared(t) for t in tensors] for tensors in lists), amsgrad=options.pop("amsgrad", False),
             maximize=options.pop("maximize", False), **options)  # fmt: skip
    for t in lists[0]:
        touched(t)
