"""One step of Adam or AdamW for a list of parameters."""

from typing import Any

from hf_ascend import torch


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
    """Update parameters and their moments in place, by one call for all of them.

    params, grads, exp_avgs (m), exp_avg_sqs (v): tensors of one floating dtype, of the parameter's shape;
    max_exp_avg_sqs the same with `amsgrad`, else empty; state_steps: float32 tensors of one element, the number t of
    this step, from 1. Computes in float32 at least, records no gradient and returns nothing.

    `decoupled`: p -= lr * weight_decay * p before the step (AdamW, Loshchilov and Hutter 2017, arXiv:1711.05101), else
    grad += weight_decay * p (Adam, Kingma and Ba 2014, arXiv:1412.6980). Then m and v are the moving averages of grad
    and grad^2, and p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), for `amsgrad` with the largest v
    so far.
    """
    largest = max_exp_avg_sqs or [None] * len(params)
    for p, g, m, v, top, step in zip(params, grads, exp_avgs, exp_avg_sqs, largest, state_steps, strict=True):
        t, wide = float(step), p.to(torch.float32) if p.dtype.itemsize < 4 else p
        g = (-g if maximize else g).to(wide.dtype)
        if not decoupled and weight_decay:
            g = g + wide * weight_decay
        first = m.to(wide.dtype) * beta1 + g * (1 - beta1)
        second = v.to(wide.dtype) * beta2 + g * g * (1 - beta2)
        m.copy_(first)
        v.copy_(second)
        if amsgrad:
            second = second.maximum(top.to(wide.dtype))
            top.copy_(second)
        change = first / ((second / (1 - beta2**t)).sqrt() + eps)
        decay = lr * weight_decay if decoupled else 0.0
        p.copy_(wide * (1 - decay) - change * (lr / (1 - beta1**t)))
