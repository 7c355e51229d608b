"""Root mean square normalisation on the CPU."""

from typing import Any

import numpy as np
import torch as real

from hf_ascend.torch._fallback import compute
from hf_ascend.torch._formulas import Formula
from hf_ascend.torch._inplace import from_numpy, memory, records
from hf_ascend.torch._registry import wrap

from . import check as CONTRACT  # noqa: N812

__all__ = ["CONTRACT", "rms_norm"]


def rms_norm(x: Any, weight: Any, *, eps: float = 1e-6) -> Any:
    """See reference/rms_norm.py; the mean of squares is one dot product a row."""
    if records(x, weight):
        return wrap(compute(_RECORDED, x, weight, eps))
    a = memory(x)
    rows = a.reshape(-1, a.shape[-1])
    scale = np.einsum("ij,ij->i", rows, rows)
    scale /= a.shape[-1]
    scale += eps
    np.sqrt(scale, out=scale)
    out = rows / scale[:, None]
    out *= memory(weight)
    return wrap(from_numpy(out.reshape(a.shape)))


def _whole(x: Any, weight: Any, eps: float) -> Any:
    return real.nn.functional.rms_norm(x, weight.shape, weight, eps)


def _forward(x: Any, weight: Any, eps: float) -> Any:
    scale = real.linalg.vecdot(x, x).unsqueeze(-1).div_(x.shape[-1]).add_(eps).rsqrt_()
    normal = x * scale
    return normal * weight, (normal, scale, weight)


def _backward(kept: Any, gradients: Any, wanted: Any) -> Any:
    """For y = n w, n = s x, s = (mean(x^2) + eps)^-1/2: dw = sum of dy n; dx = s (dy w - n mean(dy w n))."""
    (normal, scale, weight), g = kept, gradients[0]
    products, found = (g * normal).reshape(-1, weight.numel()), {}
    if 0 in wanted:
        mean = products.mv(weight).div_(-weight.numel()).reshape(scale.shape)
        found[0] = (g * weight).addcmul_(normal, mean).mul_(scale)
    if 1 in wanted:
        found[1] = products.sum(0)
    return found


_RECORDED = Formula(
    _whole, _forward, _backward, fits=lambda x, weight, eps: x.shape[-1:] == weight.shape,
    reads=lambda wanted: [1] if 0 in wanted else [],
)  # fmt: skip
