"""Fused and device kernels behind one registry.

    from hf_ascend import kernels

    kernels.attention(query, key, value, mask, scale=0.125, causal="", dropout=0.0)   # (B, N, S, D) -> (B, N, S, Dv)
    kernels.rms_norm(x, weight, eps=1e-6)                                             # (..., H) -> (..., H)
    kernels.rotary(query, key, cos, sin, style="half")                                # two tensors, shapes as given

    kernels.adamw(params, grads, ms, vs, [], steps, lr=1e-3, ...)                     # in place, all parameters at once

    kernels.report()                       # which face ran, what fell back and why
    with kernels.use("emulated"): ...      # the Ascend code path, with CANN's documented semantics on the CPU

Each kernel has one signature and these faces, each in a folder of its name:

* `reference`  the meaning: small, composed of torch operators, differentiable, any device;
* `cann`       Ascend: calls of MindSpore's CANN-backed operators through `primitives`;
* `cpu`        C++ for the CPU backend;
* emulated     no code of its own: the `cann` face, with `primitives` resolved to `emulated/`.

`HF_ASCEND_KERNELS` chooses: `auto` (the default: cann on Ascend, cpu on the CPU), `reference`, or `emulated`. A face
that a call's contract rules out is passed over for the reference, counted with its reason.

To add a kernel `k`: write `reference/k.py` with the function `k` (its docstring documents the signature) and add
`k = Kernel("k")` below. To give it a face: write `cann/k.py` or `cpu/k.py` with a function of the same name and
signature, and `CONTRACT` beside it. For a CANN face, put each operator's contract into `cann/contracts.py` and its
emulation into `emulated/`. Plug it in at one of upstream's seams (`seams.py`), not into models. See docs/KERNELS.md.
"""

from .contract import Arg, Contract, ContractError, Size
from .registry import KERNELS, Kernel, mode, report, reset_report, use

adamw = Kernel("adamw")
attention = Kernel("attention")
rms_norm = Kernel("rms_norm")
rotary = Kernel("rotary")

__all__ = [
    "KERNELS", "Arg", "Contract", "ContractError", "Kernel", "Size", "adamw", "attention", "mode", "report",
    "reset_report", "rms_norm", "rotary", "use",
]  # fmt: skip
