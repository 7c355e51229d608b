"""Large operators on the CPU, by PyTorch's kernels on shared memory; each recorded one a node of MindSpore's graph.

Training on the CPU is made of a few operators on large tensors, for which MindSpore's CPU kernels take two to ten times
as long as PyTorch's, forward and backward (benchmarks/training.py). They are listed here. This is no fallback: each has
its implementation on MindSpore as well, which smaller tensors, graph capture and Ascend use. HF_ASCEND_CPU_NODES sets
from how many elements of an argument on (2048 if unset), or "off".
"""

import math
import os
from collections.abc import Callable
from typing import Any

import torch as real

from . import _dtypes, _fallback, _formulas
from ._ms import ON_CPU, TensorPy, grad_enabled, jit_state, raw_requires_grad, raw_shape

_SETTING = os.environ.get("HF_ASCEND_CPU_NODES", "2048")
if _SETTING != "off" and not _SETTING.isdecimal():
    raise ValueError(f"HF_ASCEND_CPU_NODES={_SETTING!r}: expected a number of elements, or off")
LARGE = int(_SETTING) if _SETTING != "off" else None
"""From this many elements in one argument on. Below, nodes are no slower either, but what is small stays MindSpore's,
so that its gradients remain in use."""
_F = real.nn.functional
_OPERATORS: dict[str, Callable[..., Any]] = {
    # matrix products
    "_C._nn.linear": _formulas.LINEAR, "bmm": real.bmm, "baddbmm": real.baddbmm, "addmm": real.addmm,
    "einsum": real.einsum,
    # activations
    "_C._nn.silu": _F.silu, "_C._nn.gelu": _F.gelu, "relu": real.relu, "tanh": real.tanh, "sigmoid": real.sigmoid,
    "softmax": real.softmax, "log_softmax": real.log_softmax,
    # normalisation
    "layer_norm": real.layer_norm, "rsqrt": real.rsqrt, "pow": real.pow, "square": real.square, "mean": real.mean,
    # element by element
    "div": real.div, "neg": real.neg, "where": real.where, "masked_fill": real.masked_fill,
    "Tensor.__truediv__": real.div, "Tensor.__rtruediv__": lambda x, y: y / x, "Tensor.__pow__": real.pow,
    # lookups and losses over large vocabularies
    "embedding": real.embedding, "_C._nn.cross_entropy_loss": real._C._nn.cross_entropy_loss,
    # copies
    "cat": real.cat, "clone": real.clone, "Tensor.contiguous": real.Tensor.contiguous,
}  # fmt: skip
_UNRECORDED = frozenset(("_C._nn.silu", "_C._nn.gelu", "softmax", "log_softmax", "layer_norm"))
"""Those that PyTorch computes where nothing is recorded too, from 16 times as many elements on."""
_KINDS = (TensorPy, int, float, str, list, tuple, _dtypes.dtype, type(None))
"""What arguments may be; numpy's scalars, arrays and what else the stand-in knows are its own to convert."""


def large(x: Any) -> bool:
    """Whether a recorded operator on `x` outside graphs is to be a node. Those of two operands ask this themselves."""
    return LARGE is not None and math.prod(raw_shape(x)) >= LARGE and jit_state._jit_context is None


def node(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, the implementation of operator `name`, with PyTorch's for what is large if it is listed."""
    theirs = _OPERATORS.get(name)
    if theirs is None or not ON_CPU or LARGE is None:
        return fn
    listed, copies, always = name == "cat", name == "Tensor.contiguous", name in _UNRECORDED

    def wanted(args: tuple[Any, ...]) -> bool:
        if grad_enabled():
            tensors = [a for a in (args[0] if listed and args else args) if isinstance(a, TensorPy)]
            if any(map(raw_requires_grad, tensors)) and any(map(large, tensors)):
                return not (copies and TensorPy.is_contiguous(tensors[0]))
        return always and bool(args) and isinstance(args[0], TensorPy) and math.prod(raw_shape(args[0])) >= 16 * LARGE

    def choose(*args: Any, **kwargs: Any) -> Any:
        if jit_state._jit_context is None and wanted(args) and all(isinstance(a, _KINDS) for a in args):
            return _fallback.compute(theirs, *args, **kwargs)
        return fn(*args, **kwargs)

    choose.__doc__, choose.__name__ = fn.__doc__, name.rpartition(".")[2]
    return choose
