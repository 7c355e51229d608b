"""Scaled dot product attention on the CPU."""

from typing import Any

import torch as real

from hf_ascend.torch._fallback import compute
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


def _attend(query: Any, key: Any, value: Any, mask: Any, *, scale: float | None, causal: str) -> Any:
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
    """See reference/attention.py; PyTorch's kernel on the tensors' own memory."""
    return wrap(compute(_attend, query, key, value, mask, scale=scale, causal=causal))
