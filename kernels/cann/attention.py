"""Attention by CANN's FlashAttentionScore, and FusedInferAttentionScore for one row without gradients (decoding).

Layout BNSD; grouped heads are native. What the operators do not take is arranged here:

* float32 becomes float16 when no gradient is recorded, as its 11 bits are the most there is, and bfloat16 when
  one is: gradients of a mean loss lie below float16's smallest numbers. The result is float32 again.
* Head widths become a multiple of 16, the same for values, by zeros that change no score.
* torch's masks (True = keep) are inverted. Values of a floating mask at or below -60000 in units of the score before
  scaling hide, as they would be infinite in float16; the rest is the operator's `real_shift`.
* A row with everything hidden has no defined result in CANN: nothing is hidden there, and the result set to zero.
* Plain causal attention passes the compressed (2048, 2048) mask with sparse_mode 2 (top left) or 3 (bottom right).

Dropout, and gradients of the mask (whose scaling in the operator's backward is not documented), go to the reference.
"""

import functools
import math
from typing import Any

import numpy as np

from hf_ascend import torch
from hf_ascend.torch.nn.functional import pad

from ..contract import FLOAT, Arg, Contract, Size, recording
from ..primitives import call
from .contracts import COMPRESSED

_LONGEST = 524288
_MOST_SHARED = 64
HIDES = -60000.0


def _rule(shapes: dict[str, tuple[int, ...]], options: Any) -> str | None:
    """no mask together with causal; bottom_right needs Sq <= Skv; the mask needs no gradient."""
    if options.get("causal") and "mask" in shapes:
        return "causal together with a mask"
    if options.get("causal") == "bottom_right" and shapes["query"][2] > shapes["key"][2]:
        return "bottom_right with more rows than columns"
    return None


class _AttentionContract(Contract):
    """The declared contract, and that the mask needs no gradient."""

    def check(self, args: tuple[Any, ...], options: Any) -> str | None:
        if len(args) > 3 and args[3] is not None and recording(args[3:]):
            return "the mask needs gradients"
        return super().check(args, options)


CONTRACT = _AttentionContract(
    "attention",
    {
        "query": Arg(("B N1 Sq D",), FLOAT),
        "key": Arg(("B N2 Skv D",), FLOAT),
        "value": Arg(("B N2 Skv Dv",), FLOAT),
        "mask": Arg(
            ("B|1 N1|1 Sq|1 Skv|1", "N1|1 Sq|1 Skv|1", "Sq|1 Skv|1"),
            ("bool", *FLOAT),
            optional=True,
            meaning="bool: True = keep; floating: added",
        ),
    },
    sizes={
        "B": Size(maximum=2048),
        "N1": Size(maximum=256),
        "Sq": Size(maximum=_LONGEST),
        "Skv": Size(maximum=_LONGEST),
        "D": Size(maximum=512),
        "Dv": Size(maximum=512),
    },
    multiples=(("N1", "N2"),),
    same_dtype=("query", "key", "value"),
    options={"dropout": (0.0,), "causal": ("", "top_left", "bottom_right")},
    rule=_rule,
    source="cann: FlashAttentionScore, FusedInferAttentionScore",
)


def attention(
    query: Any, key: Any, value: Any, mask: Any = None, *,
    scale: float | None = None, causal: str = "", dropout: float = 0.0,
) -> Any:  # fmt: skip
    """See reference/attention.py; tensors are 4-D. The result has query's dtype, rounded as said above."""
    dtype, (b, n1, rows, width), out_width = query.dtype, query.shape, value.shape[-1]
    n2, columns = key.shape[1:3]
    scale = 1 / math.sqrt(width) if scale is None else float(scale)
    learning = recording((query, key, value))
    narrow = dtype if dtype is not torch.float32 else torch.bfloat16 if learning else torch.float16
    lanes = -(-max(width, out_width) // 16) * 16
    q, k, v = (_prepared(t, narrow, lanes) for t in (query, key, value))
    hidden, shift, dead = _masks(mask, scale, narrow, (b, n1, rows, columns))
    one = rows == 1 and not learning and causal != "top_left" and shift is None and n1 <= _MOST_SHARED * n2
    if one and (hidden is None or hidden.shape[1] == 1):
        out = _one_row(q, k, v, hidden, scale)
    else:
        mode = {"": 0, "top_left": 2, "bottom_right": 3}[causal]
        compressed = _triangle() if causal else hidden
        out = call(
            "FlashAttentionScore",
            {"head_num": n1, "keep_prob": 1.0, "scale_value": scale, "input_layout": "BNSD", "sparse_mode": mode},
            q, k, v, shift, None, None, compressed,
        )[3]  # fmt: skip
    out = out.to(dtype)
    out = out if lanes == out_width else out[..., :out_width]
    return out if dead is None else out.masked_fill(dead, 0.0)


def _one_row(q: Any, k: Any, v: Any, hidden: Any, scale: float) -> Any:
    attributes = {
        "num_heads": q.shape[1],
        "scale_value": scale,
        "input_layout": "BNSD",
        "num_key_value_heads": k.shape[1],
        "inner_precise": 0,  # high precision
    }
    return call("FusedInferAttentionScore", attributes, q, [k], [v], None, hidden)[0]


def _prepared(x: Any, dtype: Any, lanes: int) -> Any:
    return (pad(x, (0, lanes - x.shape[-1])) if x.shape[-1] != lanes else x).to(dtype).contiguous()


def _masks(mask: Any, scale: float, dtype: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """(hidden uint8 with 1 = masked out, shift added before scaling, rows without a column), None if not needed."""
    if mask is None:
        return None, None, None
    b, _, rows, columns = shape
    mask = mask.reshape((1,) * (4 - mask.dim()) + tuple(mask.shape))
    shift = None
    if mask.dtype is torch.bool:
        hidden = ~mask
    else:
        shift = mask.to(torch.float32) / scale
        hidden = shift <= HIDES
        shift = shift.masked_fill(hidden, 0.0).to(dtype).expand(shape).contiguous()
    hidden = hidden.expand(b, hidden.shape[1], rows, columns)
    dead = hidden.all(dim=-1, keepdim=True)
    hidden = torch.logical_and(hidden, ~dead).to(torch.uint8).contiguous()
    return hidden, shift, dead


@functools.cache
def _triangle() -> Any:
    """The compressed causal mask: 1 above the diagonal."""
    # From the host, so that a graph capture in progress sees a constant.
    return torch.from_numpy(np.triu(np.ones((COMPRESSED, COMPRESSED), np.uint8), 1))
