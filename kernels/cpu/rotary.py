"""Rotary position embedding on the CPU."""

from typing import Any

import numpy as np
import torch as real

from hf_ascend.torch._fallback import compute
from hf_ascend.torch._formulas import Formula
from hf_ascend.torch._inplace import from_numpy, memory, records
from hf_ascend.torch._registry import wrap

from . import check as CONTRACT  # noqa: N812

__all__ = ["CONTRACT", "rotary"]


def rotary(query: Any, key: Any, cos: Any, sin: Any, *, style: str = "half") -> tuple[Any, Any]:
    """See reference/rotary.py; each half of the lanes is written once, without a turned copy."""
    if records(query, key, cos, sin):
        return wrap(compute(_RECORDED, query, key, cos, sin, style))
    c, s = memory(cos), memory(sin)
    return _rotate(memory(query), c, s, style), _rotate(memory(key), c, s, style)


def _whole(query: Any, key: Any, cos: Any, sin: Any, style: str) -> tuple[Any, Any]:
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


def _lanes(r: int, style: str) -> tuple[slice, slice]:
    """The first and the second of the lanes that turn together."""
    return (slice(0, r // 2), slice(r // 2, r)) if style == "half" else (slice(0, r, 2), slice(1, r, 2))


def _turned(x: Any, cos: Any, first: Any, second: Any, lanes: tuple[slice, slice], sign: int) -> Any:
    """(a cos - sign b first, b cos + sign a second) for the pairs (a, b) of lanes of `x`; other lanes as they are."""
    r, (a, b) = cos.shape[-1], lanes
    out = real.empty_like(x)
    real.mul(x[..., :r], cos, out=out[..., :r])
    out[..., a].addcmul_(x[..., b], first, value=-sign)
    out[..., b].addcmul_(x[..., a], second, value=sign)
    if r < x.shape[-1]:
        out[..., r:] = x[..., r:]
    return out


def _forward(query: Any, key: Any, cos: Any, sin: Any, style: str) -> Any:
    lanes = a, b = _lanes(cos.shape[-1], style)
    kept, first, second = (cos, sin, lanes), sin[..., a], sin[..., b]
    return tuple(_turned(x, cos, first, second, lanes, 1) for x in (query, key)), kept


def _backward(kept: Any, gradients: Any, wanted: Any) -> Any:
    """The turn back: da = ga cos + gb sin of b's lane, db = gb cos - ga sin of a's lane."""
    cos, sin, lanes = kept
    first, second = sin[..., lanes[1]], sin[..., lanes[0]]
    return {i: _turned(gradients[i], cos, first, second, lanes, -1) for i in wanted if gradients[i] is not None}


def _fits(query: Any, key: Any, cos: Any, sin: Any, style: str) -> bool:
    """Query and key have a gradient, the angles none; and these broadcast to those, not the other way round."""
    shape = tuple(cos.shape)
    return (
        [x.requires_grad for x in (query, key, cos, sin)] == [True, True, False, False]
        and tuple(sin.shape) == shape and shape[-1] % 2 == 0
        and all(
            len(shape) <= len(x.shape) and shape[-1] <= x.shape[-1]
            and all(c in (1, n) for c, n in zip(shape[-2::-1], tuple(x.shape)[-2::-1]))  # noqa: B905
            for x in (query, key)
        )
    )  # fmt: skip


_RECORDED = Formula(_whole, _forward, _backward, fits=_fits, reads=lambda wanted: (2, 3))


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, style: str) -> Any:
    r = cos.shape[-1]
    out = np.empty(x.shape, x.dtype)
    a, b = _lanes(r, style)
    first, second = x[..., a], x[..., b]
    np.multiply(first, cos[..., a], out=out[..., a])
    out[..., a] -= second * sin[..., a]
    np.multiply(second, cos[..., b], out=out[..., b])
    out[..., b] += first * sin[..., b]
    if r < x.shape[-1]:
        out[..., r:] = x[..., r:]
    return wrap(from_numpy(out))
