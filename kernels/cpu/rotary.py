"""Rotary position embedding on the CPU."""

from typing import Any

import numpy as np
import torch as real

from hf_ascend.torch._fallback import compute
from hf_ascend.torch._inplace import from_numpy, memory, records
from hf_ascend.torch._registry import wrap

from . import check as CONTRACT  # noqa: N812

__all__ = ["CONTRACT", "rotary"]


def rotary(query: Any, key: Any, cos: Any, sin: Any, *, style: str = "half") -> tuple[Any, Any]:
    """See reference/rotary.py; each half of the lanes is written once, without a turned copy."""
    if records(query, key, cos, sin):
        return wrap(compute(_recorded, query, key, cos, sin, style=style))
    c, s = memory(cos), memory(sin)
    return _rotate(memory(query), c, s, style), _rotate(memory(key), c, s, style)


def _recorded(query: Any, key: Any, cos: Any, sin: Any, *, style: str) -> tuple[Any, Any]:
    return _turn(query, cos, sin, style), _turn(key, cos, sin, style)


def _turn(x: Any, cos: Any, sin: Any, style: str) -> Any:
    r = cos.shape[-1]
    lanes, rest = x[..., :r], x[..., r:]
    if style == "half":
        a, b = lanes.chunk(2, -1)
        turned = real.cat((-b, a), -1)
    else:
        turned = real.stack((-lanes[..., 1::2], lanes[..., 0::2]), -1).flatten(-2)
    out = lanes * cos + turned * sin
    return real.cat((out, rest), -1) if rest.shape[-1] else out


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
