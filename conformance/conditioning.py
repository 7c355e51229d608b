"""How far PyTorch's own result moves when its weights change in their last bits: the measure of ill-conditioned cases.

Two correct float32 programs that add in another order differ by what a change of the weights' last bits does. Mostly
that is far below the tolerance. It is not behind a ReLU whose input is zero but for rounding, a softmax at a low
temperature, or in a gradient that vanishes in exact arithmetic. A result outside the tolerance is therefore held
against this movement, and marked when that is what it took; a wrong operator moves a result by far more.

The argument is that of backward error analysis: Higham, Accuracy and Stability of Numerical Algorithms, chapter 1.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

STEP = 2.0**-22
"""The relative change: two units in the last place of float32."""
DRAWS = 6


@contextlib.contextmanager
def nudged(model: Any, seed: int) -> Iterator[None]:
    """Inside a `with` block, each float32 parameter of a real model is changed by up to STEP of its size, at random."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    kept = {p: p.detach().clone() for p in model.parameters() if p.dtype is torch.float32}
    try:
        with torch.no_grad():
            for p in kept:
                p.mul_(1 + STEP * (2 * torch.rand(p.shape, generator=generator) - 1))
        yield
    finally:
        with torch.no_grad():
            for p, before in kept.items():
                p.copy_(before)


def movement(
    model: Any,
    compute: Callable[[], dict[str, np.ndarray]],
    norm: Callable[[np.ndarray], float],
) -> dict[str, float]:
    """Name -> the largest norm of the change of `compute()`'s arrays over a few draws."""
    draws = []
    plain = compute()
    for seed in range(DRAWS):
        with nudged(model, seed):
            draws.append(compute())
    return largest_change(plain, draws, norm)


def largest_change(
    base: dict[str, np.ndarray], others: Iterable[dict[str, np.ndarray]], norm: Callable[[np.ndarray], float]
) -> dict[str, float]:
    """Name -> the largest norm of the difference between `base` and any of the others, where both are finite."""
    moved = dict.fromkeys(base, 0.0)
    for other in others:
        for key, value in other.items():
            if key in base and value.shape == base[key].shape:
                both = np.isfinite(value) & np.isfinite(base[key])
                moved[key] = max(moved[key], norm(np.where(both, value, 0) - np.where(both, base[key], 0)))
    return moved
