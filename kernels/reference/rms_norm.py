"""Root mean square normalisation."""

from typing import Any

from hf_ascend import torch


def rms_norm(x: Any, weight: Any, *, eps: float = 1e-6) -> Any:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension, computed in float32, rounded once to x's dtype.

    x (..., H) and weight (H) floating; returns (..., H) in x's dtype. (Zhang and Sennrich 2019, arXiv:1910.07467.)
    """
    wide = x.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * weight.to(torch.float32)).to(x.dtype)
