"""Scaled dot product attention."""

import functools
import math
from typing import Any

import numpy as np

from hf_ascend import torch
from hf_ascend.torch._ops import linear


def attention(
    query: Any, key: Any, value: Any, mask: Any = None, *,
    scale: float | None = None, causal: str = "", dropout: float = 0.0,
) -> Any:  # fmt: skip
    """softmax(query @ key^T * scale + mask) @ value, in the inputs' dtype.

    query (..., N1, Sq, D), key (..., N2, Skv, D), value (..., N2, Skv, Dv), N1 a multiple of N2: query head h uses key
    head h // (N1 / N2). Returns (..., N1, Sq, Dv). A bool `mask`, broadcastable to (..., N1, Sq, Skv), keeps where
    True; a floating one is added. Rows with nothing to attend to give zeros, in value and gradient. `causal` is ""
    (all), "top_left" (row i sees columns 0..i) or "bottom_right" (the last row sees all), and excludes a mask. `scale`
    defaults to 1/sqrt(D). `dropout` is the probability with which a weight is dropped. (Vaswani et al. 2017,
    arXiv:1706.03762.)
    """
    heads, (rows, width) = query.shape[-3] if query.dim() > 2 else 1, query.shape[-2:]
    columns = key.shape[-2]
    scale = 1 / math.sqrt(width) if scale is None else scale
    shape = (*query.shape[:-1], columns)
    query = query * scale
    if query.dim() > 2 and heads != key.shape[-3]:
        # Grouped heads: the query heads of one key head become rows of it, so that no key is repeated.
        query = query.reshape((*key.shape[:-2], heads // key.shape[-3] * rows, width))
    grouped = query.shape[:-1]
    scores = linear.scores(query, key).reshape(shape)
    dead = None
    if causal:
        mask = _triangle(rows, columns, 0 if causal == "top_left" else columns - rows)
    if mask is not None:
        # Neither value nor gradient may see the softmax of a row without anything to attend to: it is NaN.
        hidden = ~mask if mask.dtype is torch.bool else mask == -math.inf
        dead = None if causal == "top_left" else hidden.all(-1, keepdim=True)
        dead = dead if dead is not None and (torch.compiler.is_compiling() or bool(dead.any())) else None
        scores = scores.masked_fill(hidden, -math.inf) if mask.dtype is torch.bool else scores + mask.to(scores.dtype)
        if dead is not None:
            scores = scores.masked_fill(dead, 0.0)
    weights = scores.softmax(-1)
    if dead is not None:
        weights = weights.masked_fill(dead, 0.0)
    if dropout > 0:
        weights = torch.dropout(weights, dropout, True)
    out = torch.matmul(weights.reshape((*grouped, columns)), value)
    return out.reshape((*shape[:-1], value.shape[-1]))


@functools.lru_cache(8)
def _triangle(rows: int, columns: int, diagonal: int) -> Any:
    return torch.from_numpy(np.tril(np.ones((rows, columns), bool), diagonal))
