"""Scaled dot product attention on the CPU."""

import functools
import math
from typing import Any

import numpy as np
import torch as real

from hf_ascend.torch._fallback import compute
from hf_ascend.torch._inplace import from_numpy, memory, records
from hf_ascend.torch._registry import wrap

from . import check

__all__ = ["CONTRACT", "attention"]


def CONTRACT(args: tuple[Any, ...], options: dict[str, Any]) -> str | None:  # noqa: N802
    """Besides the shared contract: no dropout, matrices with elements, heads that one product can take."""
    if options.get("dropout"):
        return "dropout"
    query, key, value = args[:3]
    if len(query.shape) < 3 or 0 in query.shape or 0 in key.shape or 0 in value.shape:
        return "fewer than three dimensions, or no elements"
    if len(args) > 3 and args[3] is not None and args[3].dtype.name not in ("bool", "float32"):
        return "a mask that is neither bool nor float32"
    return check(args, options)


@functools.lru_cache(8)
def _hidden(rows: int, columns: int, diagonal: int) -> np.ndarray:
    return ~np.tril(np.ones((rows, columns), bool), diagonal)


def _recorded(query: Any, key: Any, value: Any, mask: Any, *, scale: float | None, causal: str) -> Any:
    rows, columns = query.shape[-2], key.shape[-2]
    if causal == "bottom_right" and rows != columns:
        mask, causal = real.ones(rows, columns, dtype=real.bool).tril_(columns - rows), ""
    return real.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=bool(causal), scale=scale, enable_gqa=query.shape[-3] != key.shape[-3]
    )


def attention(
    query: Any, key: Any, value: Any, mask: Any = None, *,
    scale: float | None = None, causal: str = "", dropout: float = 0.0,
) -> Any:  # fmt: skip
    """See reference/attention.py. Query heads of one key head become rows of it; the softmax works in place."""
    if records(query, key, value, mask):
        return wrap(compute(_recorded, query, key, value, mask, scale=scale, causal=causal))
    q, k, v = memory(query), memory(key), memory(value)
    rows, width = q.shape[-2:]
    columns = k.shape[-2]
    shape = (*q.shape[:-1], columns)
    q = q * np.float32(1 / math.sqrt(width) if scale is None else scale)
    if q.shape[-3] != k.shape[-3]:
        q = q.reshape(*k.shape[:-2], q.shape[-3] // k.shape[-3] * rows, width)
    grouped = np.matmul(q, k.swapaxes(-1, -2))
    scores = grouped.reshape(shape)
    if causal:
        np.copyto(scores, -np.inf, where=_hidden(rows, columns, 0 if causal == "top_left" else columns - rows))
    elif mask is not None:
        m = memory(mask)
        if m.dtype == np.bool_:
            np.copyto(scores, -np.inf, where=~m)
        else:
            scores += m
    top = scores.max(-1, keepdims=True)
    dead = np.isneginf(top) if (mask is not None or causal == "bottom_right") else None
    if dead is not None and dead.any():
        top[dead] = 0  # rows with nothing to attend to: exp(-inf) is 0 throughout, and so is their result
    else:
        dead = None
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(-1, keepdims=True)
    if dead is not None:
        total[dead] = 1
    out = np.matmul(scores.reshape(grouped.shape), v).reshape(*shape[:-1], v.shape[-1])
    out /= total
    return wrap(from_numpy(out))
