"""The contracts of the CANN operators that the faces call, as MindSpore 2.10 and CANN document them.

Dimensions: B batch, N1 query heads, N2 key heads, Sq and Skv lengths, D head width, S length, H model width.
Masks of these operators say 1 (True) for masked out, the opposite of torch's.
"""

from collections.abc import Mapping
from typing import Any

from ..contract import FLOAT, Arg, Contract, Size

OUT = "1 (True) = masked out, 0 = kept"
COMPRESSED = 2048
"""Side of the triangular mask that stands for a causal one of any length."""


def _mask_suits_mode(shapes: dict[str, tuple[int, ...]], options: Mapping[str, Any]) -> str | None:
    """sparse_mode 0 takes a full mask or none, 2 and 3 the (2048, 2048) triangle; 3 needs Sq <= Skv."""
    mode, mask = options.get("sparse_mode", 0), shapes.get("attn_mask")
    if mode in (2, 3) and mask != (COMPRESSED, COMPRESSED):
        return f"sparse_mode {mode} takes the ({COMPRESSED}, {COMPRESSED}) triangular mask, got {mask}"
    q, k = shapes["query"], shapes["key"]
    if mode == 0 and mask is not None and mask[-2:] != (q[2], k[2]):
        return f"sparse_mode 0 takes a full mask (..., {q[2]}, {k[2]}), got {mask}"
    if mode == 3 and q[2] > k[2]:
        return f"sparse_mode 3 leaves rows without columns when Sq ({q[2]}) > Skv ({k[2]})"
    return None


def _no_batch_in_mode_1(shapes: dict[str, tuple[int, ...]], options: Mapping[str, Any]) -> str | None:
    """mode 1 (interleaved) takes cos and sin (1, 1, S, D)."""
    mixed = options["mode"] == 1 and shapes["cos"][0] != 1
    return f"mode 1 takes cos (1, 1, S, D), got {shapes['cos']}" if mixed else None


def _same_shapes(shapes: dict[str, tuple[int, ...]], options: Mapping[str, Any]) -> str | None:
    """Everything but the step has the shape of the parameter."""
    odd = [f"{n} {s}" for n, s in shapes.items() if n != "step" and s != shapes["var"]]
    return f"var has shape {shapes['var']}, but {', '.join(odd)}" if odd else None


def epsilon_in_range(shapes: dict[str, tuple[int, ...]], options: Mapping[str, Any]) -> str | None:
    """epsilon lies in (0, 1]."""
    epsilon = options.get("epsilon", options.get("eps", 1e-6))
    return None if 0 < epsilon <= 1 else f"epsilon is {epsilon}, takes (0, 1]"


FLASH_ATTENTION_SCORE = Contract(
    "FlashAttentionScore",
    {
        "query": Arg(("B N1 Sq D",)),
        "key": Arg(("B N2 Skv D",)),
        "value": Arg(("B N2 Skv D",)),
        "real_shift": Arg(("B N1 Sq Skv", "1 N1 Sq Skv"), optional=True, meaning="added before the scale is applied"),
        "drop_mask": Arg((), ("uint8",), optional=True),
        "padding_mask": Arg((), optional=True),
        "attn_mask": Arg(
            ("B N1 Sq Skv", "B 1 Sq Skv", "Sq Skv", "2048 2048"), ("bool", "uint8"), optional=True, meaning=OUT
        ),
    },
    sizes={
        "B": Size(maximum=2048),
        "N1": Size(maximum=256),
        "Sq": Size(maximum=524288),
        "Skv": Size(maximum=524288),
        "D": Size(multiple=16, maximum=512),
    },
    multiples=(("N1", "N2"),),
    same_dtype=("query", "key", "value", "real_shift"),
    options={"input_layout": ("BNSD",), "sparse_mode": (0, 2, 3), "keep_prob": (1.0,)},
    rule=_mask_suits_mode,
    outputs=("B N1 Sq 8 float32", "B N1 Sq 8 float32", "1 =query", "B N1 Sq D =query"),
    source="mindspore.ops.flash_attention_score",
)

FUSED_INFER_ATTENTION_SCORE = Contract(
    "FusedInferAttentionScore",
    {
        "query": Arg(("B N1 1 D",)),
        "key": Arg(("B N2 Skv D",)),
        "value": Arg(("B N2 Skv D",)),
        "pse_shift": Arg((), optional=True),
        "attn_mask": Arg(("B 1 1 Skv",), ("bool", "uint8", "int8"), optional=True, meaning=OUT),
    },
    sizes={"N1": Size(maximum=256), "Skv": Size(maximum=524288), "D": Size(multiple=16, maximum=512)},
    multiples=(("N1", "N2"),),
    same_dtype=("query", "key", "value"),
    options={"input_layout": ("BNSD",), "sparse_mode": (0,)},
    differentiable=False,
    outputs=("B N1 1 D =query", "1 float32"),
    source="mindspore.ops.fused_infer_attention_score, the branch for one query row",
)

RMS_NORM = Contract(
    "RmsNorm",
    {"x": Arg(("* H",), FLOAT), "gamma": Arg(("H",), FLOAT)},
    same_dtype=("x", "gamma"),
    rule=epsilon_in_range,
    outputs=("* H =x", "* 1 float32"),
    source="mindspore.ops.rms_norm",
)

ROTARY_POSITION_EMBEDDING = Contract(
    "RotaryPositionEmbedding",
    {
        "x": Arg(("B N S D",), FLOAT),
        "cos": Arg(("B|1 1 S D",), FLOAT),
        "sin": Arg(("B|1 1 S D",), FLOAT),
    },
    sizes={"D": Size(multiple=2, maximum=894), "B": Size(maximum=999), "N": Size(maximum=999)},
    same_dtype=("x", "cos", "sin"),
    options={"mode": (0, 1)},
    trailing=("mode",),
    rule=_no_batch_in_mode_1,
    outputs=("B N S D =x",),
    source="mindspore.ops.rotary_position_embedding (layout table)",
)

ADAMW = Contract(
    "AdamW",
    {
        "var": Arg(("*",), FLOAT, meaning="written"),
        "m": Arg(("*",), FLOAT, meaning="written"),
        "v": Arg(("*",), FLOAT, meaning="written"),
        "max_v": Arg(("*",), FLOAT, meaning="written with amsgrad, and not read without"),
        "gradient": Arg(("*",), FLOAT),
        "step": Arg(("1",), ("int64",), optional=True, meaning="updates before this one: the operator adds 1"),
    },
    same_dtype=("var", "m", "v", "max_v", "gradient"),
    differentiable=False,
    trailing=("lr", "beta1", "beta2", "weight_decay", "eps", "amsgrad", "maximize"),
    rule=_same_shapes,
    outputs=("* =var", "* =var", "* =var"),
    source="mindspore.ops.auto_generate.AdamW, aclnnApplyAdamWV2",
)

CONTRACTS = {
    c.name: c for c in (ADAMW, FLASH_ATTENTION_SCORE, FUSED_INFER_ATTENTION_SCORE, RMS_NORM, ROTARY_POSITION_EMBEDDING)
}
