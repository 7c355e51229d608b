"""Autocast: which operators compute in half precision inside `torch.autocast`, which in float32, and the casts.

`POLICIES` is PyTorch's list for CUDA (aten/src/ATen/autocast_mode.h; "Automatic Mixed Precision package" in its
documentation), and what PyTorch composes of listed operators but is one operator here. `on` is what the registry asks
before a listed operator. Outside of a region that check is all that autocast costs.
"""

import functools
from collections.abc import Callable
from typing import Any

from . import _dtypes, _fallback
from ._ms import ON_CPU, MsFunction, TensorPy, capturing, grad_enabled, raw_dtype, raw_requires_grad

on = False
"""Whether listed operators cast: in an enabled region, and not inside of an operator."""
dtype: Any = None
"""The half precision of the region; None outside."""
cache = True
"""Whether casts of weights are kept until the outermost region ends."""

_LOWER = """
conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d _convolution convolution prelu
addbmm addmm addmv addr baddbmm bmm chain_matmul einsum linear matmul mm mv linalg_matmul linalg_multi_dot linalg_vecdot
__matmul__ __rmatmul__ scaled_dot_product_attention
lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
"""
_FLOAT32 = """
acos asin cosh erfinv exp expm1 log log10 log1p log2 reciprocal rsqrt sinh tan softplus
pow __pow__ __rpow__ square
sum prod cumsum cumprod logsumexp softmax log_softmax
layer_norm native_layer_norm rms_norm group_norm
norm frobenius_norm nuclear_norm linalg_norm linalg_vector_norm linalg_matrix_norm renorm
cosine_similarity dist pdist cdist
cross_entropy_loss nll_loss nll_loss2d nll_loss_nd binary_cross_entropy_with_logits cosine_embedding_loss
hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss
upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d
upsample_bicubic2d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
_upsample_bilinear2d_aa _upsample_bicubic2d_aa
"""
_PROMOTE = """
addcdiv addcmul atan2 bilinear cross linalg_cross dot vdot grid_sampler index_put scatter_add tensordot
"""
_UNLISTED = """
mean nanmean nansum var std var_mean trace logaddexp logit xlogy batch_norm instance_norm _weight_norm ctc_loss
celu elu selu mish log_sigmoid logsigmoid adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _grouped_mm
_softmax_backward_data
"""

POLICIES: dict[str, str] = {
    **dict.fromkeys(_LOWER.split(), "lower"),
    **dict.fromkeys(_FLOAT32.split(), "float32"),
    **dict.fromkeys(_PROMOTE.split(), "promote"),
    **dict.fromkeys(_UNLISTED.split(), "unlisted"),
    "binary_cross_entropy": "refused",
}
"""Operator -> "lower": half precision; "float32" (unless the call names a dtype); "promote": float32
if an argument is (what is not listed, as cat, stack and add, promotes by itself); "refused"; "unlisted": not cast, as
in torch, but composed here of operators that would be."""

_BROADCASTING = frozenset(
    """
add sub rsub subtract mul multiply div divide true_divide __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__
__truediv__ __rtruediv__ expand expand_as broadcast_to repeat repeat_interleave tile linear addmm baddbmm
    """.split()
)
"""Operators whose gradient sums over what was broadcast. MindSpore's CPU kernels do not in bfloat16; PyTorch's do."""

_ELIGIBLE = {id(d.ms) for d in (_dtypes.float16, _dtypes.bfloat16, _dtypes.float32)}
_FLOAT32_ID = id(_dtypes.float32.ms)
_UNSAFE = (
    "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast. Combine the sigmoid before "
    "it and the loss into torch.nn.functional.binary_cross_entropy_with_logits or torch.nn.BCEWithLogitsLoss, which "
    "are safe to autocast."
)
_operators: dict[str, Callable[..., Any]] = {}  # bound by _registry, which needs this module
_wrap: Any = None
_theirs: Any = None


def _short(name: str) -> str:
    for prefix in ("Tensor.", "_C._nn.", "nn.functional.", "special."):
        name = name.removeprefix(prefix)
    return name.replace("linalg.", "linalg_")


@functools.cache
def policy(name: str) -> str | None:
    """What autocast does with the operator of that dotted name; None: nothing."""
    short = _short(name)
    return POLICIES.get(short, "unlisted" if ON_CPU and short in _BROADCASTING else None)


def run(name: str, call: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """`call`, the operator `name`, with its arguments cast by its policy; what it calls itself is not cast again."""
    global on
    on = False
    try:
        if kwargs.get("out") is None:  # torch's variants that write are not cast
            to = _wanted(policy(name), args, kwargs)
            if to is not None:
                args = tuple(_cast(a, to) for a in args)
                kwargs = {k: _cast(v, to) for k, v in kwargs.items()}
            if ON_CPU and _short(name) in _BROADCASTING and _recorded_bfloat16(args, kwargs):
                return _wrap(_fallback.compute(_theirs(name), *args, **kwargs))
        return call(*args, **kwargs)
    finally:
        on = True


def _recorded_bfloat16(args: tuple, kwargs: dict[str, Any]) -> bool:
    tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, TensorPy)]
    half = any(raw_dtype(t) is _dtypes.bfloat16.ms and raw_requires_grad(t) for t in tensors)
    return half and grad_enabled() and not capturing() and not any("_meta" in t.__dict__ for t in tensors)


def _wanted(how: str | None, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The dtype to cast to, or None."""
    given = (*args, *kwargs.values())
    if how == "lower":
        return dtype
    if how == "float32":  # sum(x, dtype=...) has what it asks for
        return None if any(isinstance(a, _dtypes.dtype) for a in given) else _dtypes.float32
    if how == "promote":
        flat = [t for a in given for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, TensorPy)]
        return _dtypes.float32 if any(id(raw_dtype(t)) == _FLOAT32_ID for t in flat) else None
    if how == "refused":
        raise RuntimeError(_UNSAFE)
    return None


def _cast(x: Any, to: Any) -> Any:
    if isinstance(x, TensorPy):
        have = raw_dtype(x)
        if have is to.ms or id(have) not in _ELIGIBLE:
            return x
        weight = cache and to is dtype and id(have) == _FLOAT32_ID and raw_requires_grad(x) and x._is_leaf
        return _cast_weight(x) if weight and not capturing() else _operators["_cast"](x, to)
    if x.__class__ is list or x.__class__ is tuple:
        return x.__class__([_cast(v, to) for v in x])
    return x


_weights: dict[tuple[int, int], tuple[Any, Any]] = {}
"""(id of a weight, id of a dtype) -> the weight, which keeps its id, and its cast."""


class _Again(MsFunction):
    """A cast that was made before, as a node of its own: MindSpore frees a node with the first backward pass."""

    @staticmethod
    def forward(ctx: Any, weight: Any, made: Any) -> Any:
        return made.view(made.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return _operators["_cast"](gradient, _dtypes.float32), None


def _cast_weight(x: Any) -> Any:
    known = _weights.get((id(x), id(dtype)))
    if known is not None:
        return _wrap(_Again.apply(x, known[1])) if grad_enabled() else known[1]
    made = _operators["_cast"](x, dtype)
    _weights[id(x), id(dtype)] = x, made.detach()
    return made


def uncast(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, the operator `name`, without autocast: for the in-place variant, which torch does not cast."""
    if policy(name) is None:
        return call

    def plain(*args: Any, **kwargs: Any) -> Any:
        global on
        before, on = on, False
        try:
            return call(*args, **kwargs)
        finally:
            on = before

    return plain


_outer: list[tuple[bool, Any, bool]] = []


def enter(enabled: bool, to: Any, cached: bool) -> None:
    """Begin a region."""
    global on, dtype, cache
    _outer.append((on, dtype, cache))
    on, dtype, cache = enabled, to, cached


def leave() -> None:
    """End the innermost region; with the outermost the casts of weights are dropped."""
    global on, dtype, cache
    on, dtype, cache = _outer.pop()
    if not _outer:
        forget()


def forget() -> None:
    """Drop the casts of weights."""
    _weights.clear()
