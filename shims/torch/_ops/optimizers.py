"""torch._fused_*: one step of an optimizer for all its parameters, in place.

torch.optim calls them for `fused=True`, which transformers' Trainer asks for by default.
"""

from typing import Any

import torch as real

from hf_ascend import kernels

from .._ms import ON_CPU
from .._registry import NAMESPACE
from .._views import touched
from .foreach import shared


def _unscaled(grads: list[Any], grad_scale: Any) -> None:
    for g in grads:
        g.copy_(g / grad_scale)


def _adam(decoupled: bool) -> Any:
    def step(
        params: list[Any],
        grads: list[Any],
        exp_avgs: list[Any],
        exp_avg_sqs: list[Any],
        max_exp_avg_sqs: list[Any],
        state_steps: list[Any],
        *,
        lr: Any,
        grad_scale: Any = None,
        found_inf: Any = None,
        **options: Any,
    ) -> None:
        if found_inf is not None and float(found_inf):
            return
        if grad_scale is not None:
            _unscaled(grads, grad_scale)
        kernels.adamw(
            params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps,
            lr=float(lr), decoupled=decoupled, **options,
        )  # fmt: skip

    step.__doc__ = f"torch._fused_adam{'w' if decoupled else ''}_ by kernels.adamw; skipped where found_inf is 1."
    return step


NAMESPACE["_fused_adam_"], NAMESPACE["_fused_adamw_"] = _adam(False), _adam(True)


def _by_pytorch(name: str) -> Any:
    """PyTorch's kernel on the tensors' memory."""
    theirs = getattr(real, name)

    def step(*lists: Any, **options: Any) -> None:
        if not ON_CPU:
            raise NotImplementedError(f"torch.{name} has no kernel on Ascend: construct the optimizer with fused=False")
        with real.no_grad():
            theirs(*shared(lists), **dict(zip(options, shared(options.values()), strict=True)))
        for t in lists[0]:
            touched(t)

    step.__doc__ = f"torch.{name}: PyTorch's own, on the CPU."
    return step


for _name in ("_fused_sgd_", "_fused_adagrad_"):
    NAMESPACE[_name] = _by_pytorch(_name)
