"""Rotary position embedding on the CPU."""

from typing import Any

import numpy as np

from hf_ascend.torch._inplace import from_numpy, memory
from hf_ascend.torch._registry import wrap

from . import check as CONTRACT  # noqa: N812

__all__ = ["CONTRACT", "rotary"]


def rotary(query: Any, key: Any, cos: Any, sin: Any, *, style: str = "half") -> tuple[Any, Any]:
    """See reference/rotary.py; each half of the lanes is written once, without a turned copy."""
    c, s = memory(cos), memory(sin)
    return _rotate(memory(query), c, s, style), _rotate(memory(key), c, s, style)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, style: str) -> Any:
    r = cos.shape[-1]
    out = np.empty(x.shape, x.dtype)
    if style == "half":
        a, b = slice(0, r // 2), slice(r // 2, r)
    else:
        a, b = slice(0, r, 2), slice(1, r, 2)
    first, second = x[..., a], x[..., b]
    np.multiply(first, cos[..., a], out=out[..., a])
    out[..., a] -= second * sin[..., a]
    np.multiply(second, cos[..., b], out=out[..., b])
    out[..., b] += first * sin[..., b]
    if r < x.shape[-1]:
        out[..., r:] = x[..., r:]
    return wrap(from_numpy(out))
