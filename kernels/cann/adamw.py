"""AdamW by CANN's ApplyAdamWV2 (MindSpore's AdamW), which updates one parameter in place a call.

It adds 1 to the step it is given before it corrects the bias, so it gets the number of steps done before this one:
given t it would correct for t + 1, and the first update would be too small.
"""

from typing import Any

from hf_ascend import torch

from ..primitives import call
from .contracts import ADAMW


def CONTRACT(args: tuple[Any, ...], options: dict[str, Any]) -> str | None:  # noqa: N802
    """The reason against a call, or None."""
    if not options.get("decoupled", True) and options["weight_decay"]:
        return "it decays weights apart from the gradient, Adam within"
    params, grads, ms, vs, tops, _ = args
    for p, g, m, v, top in zip(params, grads, ms, vs, tops or vs, strict=True):
        why = ADAMW.check((p, m, v, top, g.to(p.dtype), None), {})
        if why is not None:
            return why
    return None


def adamw(
    params: list[Any],
    grads: list[Any],
    exp_avgs: list[Any],
    exp_avg_sqs: list[Any],
    max_exp_avg_sqs: list[Any],
    state_steps: list[Any],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled: bool = True,
) -> None:
    """See reference/adamw.py."""
    largest = max_exp_avg_sqs or exp_avg_sqs  # the operator wants one, and reads it with amsgrad alone
    numbers = {
        "lr": float(lr), "beta1": float(beta1), "beta2": float(beta2), "weight_decay": float(weight_decay),
        "eps": float(eps), "amsgrad": amsgrad, "maximize": maximize,
    }  # fmt: skip
    for p, g, m, v, top, step in zip(params, grads, exp_avgs, exp_avg_sqs, largest, state_steps, strict=True):
        done = (step - 1).to(torch.int64).reshape(1)
        call("AdamW", numbers, p, m, v, top, g.to(p.dtype), done)
