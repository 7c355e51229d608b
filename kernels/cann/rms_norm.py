"""RMSNorm by CANN's RmsNorm: one kernel that computes in float32 and rounds once. Differentiable."""

from typing import Any

from ..contract import FLOAT, Arg, Contract
from ..primitives import call
from .contracts import epsilon_in_range

CONTRACT = Contract(
    "rms_norm",
    {"x": Arg(("* H",), FLOAT), "weight": Arg(("H",), FLOAT)},
    same_dtype=("x", "weight"),
    rule=epsilon_in_range,
    source="cann: RmsNorm",
)


def rms_norm(x: Any, weight: Any, *, eps: float = 1e-6) -> Any:
    """See reference/rms_norm.py. x and weight share their dtype, which the result has."""
    return call("RmsNorm", {"epsilon": eps}, x, weight)[0]
