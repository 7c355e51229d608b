"""The Lion optimizer (arXiv:2302.06675), by the update rule of bitsandbytes, which only runs on CUDA devices."""

from collections.abc import Callable, Iterable
from typing import Any

from hf_ascend import torch


class Lion(torch.optim.Optimizer):
    """Steps of the same size everywhere, in the direction of the sign of an interpolated momentum.

    p <- p * (1 - lr * weight_decay) - lr * sign(beta1 * m + (1 - beta1) * g)
    m <- beta2 * m + (1 - beta2) * g, kept in float32
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0
    ):
        if lr < 0 or weight_decay < 0 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"Lion needs lr, weight_decay >= 0 and betas in [0, 1), not {lr}, {weight_decay}, {betas}")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient. Returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p, dtype=torch.float32)
                m, g = state["exp_avg"], p.grad.to(torch.float32)
                direction = (m * beta1 + g * (1 - beta1)).sign().to(p.dtype)
                p.mul_(1 - lr * group["weight_decay"]).add_(direction, alpha=-lr)
                m.mul_(beta2).add_(g, alpha=1 - beta2)
        return loss
