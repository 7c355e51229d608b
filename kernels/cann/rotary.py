"""Rotary embedding by CANN's RotaryPositionEmbedding: one kernel per tensor, differentiable.

The operator takes cos and sin in x's dtype. Its interleaved mode takes no batch in cos, and both modes are slow when
there are more than 8 heads for each row (each decoding step): then batch, heads and rows become one long sequence,
for which cos and sin are spelt out, which is little when rows are few.
"""

from typing import Any

from hf_ascend import torch

from ..contract import FLOAT, Arg, Contract, Size
from ..primitives import call


def _fewer_angles(shapes: dict[str, tuple[int, ...]], options: Any) -> str | None:
    """R is at most D."""
    return "more angles than lanes" if shapes["cos"][-1] > shapes["query"][-1] else None


CONTRACT = Contract(
    "rotary",
    {
        "query": Arg(("B N1 S D",), FLOAT),
        "key": Arg(("B N2 S D",), FLOAT),
        "cos": Arg(("B|1 1 S R",), FLOAT),
        "sin": Arg(("B|1 1 S R",), FLOAT),
    },
    sizes={"R": Size(multiple=2, maximum=894)},
    same_dtype=("query", "key"),
    options={"style": ("half", "pairs")},
    rule=_fewer_angles,
    source="cann: RotaryPositionEmbedding",
)
MODES = {"half": 0, "pairs": 1}
_ROWS_PER_HEAD = 8
_MOST = 999


def rotary(query: Any, key: Any, cos: Any, sin: Any, *, style: str = "half") -> tuple[Any, Any]:
    """See reference/rotary.py."""
    cos, sin = cos.to(query.dtype), sin.to(query.dtype)
    return _rotate(query, cos, sin, MODES[style]), _rotate(key, cos, sin, MODES[style])


def _rotate(x: Any, cos: Any, sin: Any, mode: int) -> Any:
    r, d = cos.shape[-1], x.shape[-1]
    head = (x[..., :r] if r < d else x).contiguous()
    b, n, s, _ = head.shape
    if (mode == 1 and cos.shape[0] > 1) or b * n > _ROWS_PER_HEAD * s or max(b, n) > _MOST:
        flat = (t.expand(b, n, s, r).reshape(1, 1, -1, r) for t in (head, cos, sin))
        out = call("RotaryPositionEmbedding", {"mode": mode}, *flat).reshape(b, n, s, r)
    else:
        out = call("RotaryPositionEmbedding", {"mode": mode}, head, cos.contiguous(), sin.contiguous())
    return torch.cat((out, x[..., r:]), dim=-1) if r < d else out
