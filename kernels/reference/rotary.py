"""Rotary position embedding."""

from typing import Any

from hf_ascend import torch

STYLES = ("half", "pairs")


def rotary(query: Any, key: Any, cos: Any, sin: Any, *, style: str = "half") -> tuple[Any, Any]:
    """Rotate the first R lanes of `query` and `key` by the angles behind `cos` and `sin`; further lanes pass through.

    query (B, N1, S, D), key (B, N2, S, D), cos and sin (B or 1, 1, S, R), R <= D and even. Returns both in their own
    shapes and dtypes. The styles (Su et al. 2021, arXiv:2104.09864, and the layouts that checkpoints use):

    * "half"   lane i pairs with lane i + R/2 (GPT-NeoX, Llama): x * cos + (-x2 | x1) * sin;
    * "pairs"  lane 2i pairs with lane 2i + 1 (GPT-J), cos and sin given per lane.
    """
    if style not in STYLES:
        raise ValueError(f"rotary: style={style!r}, expected one of {STYLES}")
    return _rotate(query, cos, sin, style), _rotate(key, cos, sin, style)


def _rotate(x: Any, cos: Any, sin: Any, style: str) -> Any:
    r, d = cos.shape[-1], x.shape[-1]
    head = x[..., :r] if r < d else x
    if style == "pairs":
        turned = torch.stack((-head[..., 1::2], head[..., 0::2]), dim=-1).flatten(-2)
    else:
        turned = torch.cat((-head[..., r // 2 :], head[..., : r // 2]), dim=-1)
    out = (head * cos + turned * sin).to(x.dtype)
    return torch.cat((out, x[..., r:]), dim=-1) if r < d else out
