"""Root mean square normalisation on the CPU."""

from typing import Any

import numpy as np
import torch as real

from hf_ascend.torch._fallback import compute
from hf_ascend.torch._inplace import from_numpy, memory, records
from hf_ascend.torch._registry import wrap

from . import check as CONTRACT  # noqa: N812

__all__ = ["CONTRACT", "rms_norm"]


def rms_norm(x: Any, weight: Any, *, eps: float = 1e-6) -> Any:
    """See reference/rms_norm.py; the mean of squares is one dot product a row."""
    if records(x, weight):
        return wrap(compute(real.nn.functional.rms_norm, x, tuple(weight.shape), weight, eps))
    a = memory(x)
    rows = a.reshape(-1, a.shape[-1])
    scale = np.einsum("ij,ij->i", rows, rows)
    scale /= a.shape[-1]
    scale += eps
    np.sqrt(scale, out=scale)
    out = rows / scale[:, None]
    out *= memory(weight)
    return wrap(from_numpy(out.reshape(a.shape)))
