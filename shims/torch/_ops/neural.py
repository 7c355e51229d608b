"""Activations, normalisation, embedding, convolution, loss: what torch.nn.functional builds on."""

import math
from typing import Any

from hf_ascend import kernels

from .. import _dtypes
from .._ms import ON_CPU, mint
from ._common import (
    capturing,
    cast,
    from_numpy,
    host,
    memory,
    np,
    op,
    ops,
    raw_shape,
    readable,
    widened,
    wrap,
)
from .random import dropout_mask, stream_seeds

_LARGE = 1 << 18


@op("relu")
def relu(input: Any) -> Any:
    """max(input, 0)."""
    return from_numpy(np.maximum(memory(input), 0)) if host(input) else ops.relu(input)


@op("_C._nn.silu", "nn.functional.silu_op")
def silu(input: Any) -> Any:
    """input * sigmoid(input)."""
    if host(input) and input.numel() < _LARGE:
        x = memory(input)
        with np.errstate(all="ignore"):
            return from_numpy(np.asarray(x / (1 + np.exp(-x))).astype(x.dtype, copy=False))
    return mint.nn.functional.silu(input)


@op("_C._nn.gelu", "nn.functional.gelu")
def gelu(input: Any, approximate: str = "none") -> Any:
    """input * Phi(input), exact by erf or by the tanh approximation."""
    if approximate == "tanh":
        if host(input) and input.numel() < _LARGE:
            x = memory(input)
            return from_numpy(
                np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))).astype(x.dtype)
            )
        if not ON_CPU:
            return mint.nn.functional.gelu(input, approximate="tanh")
        return 0.5 * input * (1 + (math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)).tanh())
    if approximate != "none":
        raise RuntimeError("approximate argument must be either none or tanh.")
    if not ON_CPU:
        return mint.nn.functional.gelu(input)
    return input * 0.5 * (1.0 + (input * math.sqrt(0.5)).erf())


@op("softplus", "_C._nn.softplus", "nn.functional.softplus")
@widened
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, linear above the threshold."""
    scaled = input * beta if beta != 1 else input
    bounded = scaled.clamp(max=threshold)
    soft = bounded.exp().log1p()
    soft = soft / beta if beta != 1 else soft
    return (
        wrap(ops.where(scaled.detach() > threshold, input, soft))
        if not host(input)
        else from_numpy(np.where(memory(scaled) > threshold, memory(input), memory(soft)))
    )


@op("_C._nn.hardtanh", "nn.functional.hardtanh")
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """Limited to [min_val, max_val]."""
    return _within(input, min_val, max_val)


def _within(x: Any, low: float, high: float) -> Any:
    """`clamp`, but without a gradient at the limits themselves, as in torch's activations."""
    return mint.where((x > low) & (x < high), x, x.detach().clamp(low, high))


@op("_C._nn.hardsigmoid")
def hardsigmoid(input: Any) -> Any:
    """clamp(x + 3, 0, 6) / 6."""
    return wrap(_within(input + 3, 0, 6)) / 6


@op("_C._nn.hardswish")
def hardswish(input: Any) -> Any:
    """x * clamp(x + 3, 0, 6) / 6."""
    return input * wrap(_within(input + 3, 0, 6)) / 6


@op("_C._nn.elu", "nn.functional.elu_op")
def elu(input: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """x above zero, alpha * (exp(x) - 1) below."""
    positive = input.relu()  # without a gradient at 0, where the other part has one
    negative = (input.clamp(max=0) * input_scale).expm1() * alpha
    return (positive + negative) * scale if scale != 1 else positive + negative


@op("_C._nn.leaky_relu")
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """x above zero, slope * x below."""
    return wrap(ops.where(input.detach() > 0, input, input * negative_slope))


@op("_C._nn.mish")
def mish(input: Any) -> Any:
    """x * tanh(softplus(x))."""
    return input * wrap(softplus.impls["any"](input)).tanh()


@op("_C._nn.log_sigmoid", "nn.functional.logsigmoid")
def log_sigmoid(input: Any) -> Any:
    """log(sigmoid(x)), stable for large |x|."""
    # minimum halves its gradient between equals, as torch does at 0
    return input.minimum(input.new_zeros(())) - (-input.abs()).exp().log1p()


@op("_C._nn.glu")
def glu(input: Any, dim: int = -1) -> Any:
    """First half times sigmoid of the second."""
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


@op("dropout")
def dropout(input: Any, p: float = 0.5, train: bool = True) -> Any:
    """Zero elements with probability p and scale the others by 1 / (1 - p), when training."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0:
        return input
    if p == 1:
        return input * 0
    if capturing():
        # MindSpore's own random numbers, which are drawn at each run, in a stream that begins with a number of ours.
        return ops.Dropout(1 - p, *stream_seeds())(input)[0]
    return input * (dropout_mask(input, p) / (1 - p)).to(input.dtype)


@op("feature_dropout")
def feature_dropout(input: Any, p: float = 0.5, train: bool = True) -> Any:
    """Zero whole channels."""
    if not train or p == 0:
        return input
    if p == 1:
        return input * 0
    shape = tuple(raw_shape(input))
    mask = dropout_mask(input, p, shape[:2] + (1,) * (len(shape) - 2)) / (1 - p)
    return input * mask.to(input.dtype)


@op("layer_norm")
def layer_norm(
    input: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """Zero mean and unit variance over the last dimensions, then weight and bias (arXiv:1607.06450)."""
    shape = tuple(normalized_shape)
    rank, n = len(raw_shape(input)), len(shape)
    if tuple(raw_shape(input))[rank - n :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of size{list(raw_shape(input))}"
        )
    over = tuple(range(rank - n, rank))
    if host(input, *(t for t in (weight, bias) if t is not None)) and input.numel() < _LARGE:
        x = memory(input)
        centred = x - x.mean(over, keepdims=True)
        y = centred / np.sqrt(np.mean(centred * centred, over, keepdims=True) + np.asarray(eps, x.dtype))
        if weight is not None:
            y *= memory(weight)
        if bias is not None:
            y += memory(bias)
        return from_numpy(y.astype(x.dtype, copy=False))
    if input.dtype is _dtypes.float32 and weight is not None and bias is not None:
        axis = rank - n
        return ops.LayerNorm(axis, axis, eps)(input, weight, bias)[0]
    centred = input - input.mean(over, True)
    y = centred * ((centred * centred).mean(over, True) + eps).rsqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@op("rms_norm")
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """x / sqrt(mean(x^2) + eps) * weight (arXiv:1910.07467)."""
    eps = _dtypes.finfo(input.dtype).eps if eps is None else eps
    over = tuple(range(-len(tuple(normalized_shape)), 0))

    shape = tuple(normalized_shape)
    if not shape or tuple(raw_shape(input))[-len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but "
            f"got input of size{list(raw_shape(input))}"
        )

    def composed() -> Any:
        x = cast(input, _dtypes.float32) if input.dtype.itemsize < 4 else input  # squares overflow half precision
        y = x * ((x * x).mean(over, True) + eps).rsqrt()
        return cast(y if weight is None else y * weight, input.dtype)

    return composed() if weight is None else kernels.rms_norm.instead(composed, input, weight, eps=eps)


@op("group_norm")
@widened
def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """`layer_norm` over groups of channels and all positions (arXiv:1803.08494)."""
    shape = tuple(raw_shape(input))
    if len(shape) < 2 or num_groups < 1 or shape[1] % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(shape)} "
            f"and num_groups={num_groups}"
        )
    x = input.reshape(shape[0], num_groups, -1)
    centred = x - x.mean(-1, True)
    y = (centred * ((centred * centred).mean(-1, True) + eps).rsqrt()).reshape(shape)
    per_channel = (1, shape[1]) + (1,) * (len(shape) - 2)
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


@op("batch_norm")
def batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
    momentum: float, eps: float, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    """Normalisation per channel, by the batch's statistics when training, else the running ones (arXiv:1502.03167)."""
    if input.dtype.itemsize < 4:  # as torch: statistics of half precision are float32
        rest = (weight, bias, running_mean, running_var, training, momentum, eps)
        return batch_norm.impl(input.float(), *rest).to(input.dtype)
    rank = len(raw_shape(input))
    over = (0, *range(2, rank))
    shape = tuple(-1 if i == min(1, rank - 1) else 1 for i in range(rank))
    if training:
        mean = input.mean(over)
        centred = input - mean.reshape(shape)
        var = (centred * centred).mean(over)
        if running_mean is not None:
            n = input.numel() / raw_shape(input)[1]
            running_mean.copy_(running_mean * (1 - momentum) + mean.detach() * momentum)
            running_var.copy_(running_var * (1 - momentum) + var.detach() * (momentum * n / max(n - 1, 1)))
    else:
        centred, var = input - running_mean.reshape(shape), running_var
    scale = (var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    y = centred * scale.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


@op("embedding")
def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """Rows of `weight` (entries, width) at `indices`; the row `padding_idx` gets no gradient."""
    if scale_grad_by_freq:
        raise NotImplementedError("scale_grad_by_freq")
    if len(raw_shape(weight)) != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.dtype.is_floating_point:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
            f"but got {indices.dtype} instead"
        )
    rows = raw_shape(weight)[0]
    if ON_CPU and indices.numel() and readable(indices):
        i = memory(indices)
        if i.min() < 0 or i.max() >= rows:
            raise IndexError(
                f"index out of range in self: {int(i.max() if i.max() >= rows else i.min())} for {rows} rows"
            )
    from .._inplace import records

    if padding_idx is not None and padding_idx >= 0 and records(weight):
        frozen = (indices == padding_idx).unsqueeze(-1)
        taken = wrap(_rows(weight, indices))
        return wrap(ops.where(frozen, taken.detach(), taken)) if capturing() or bool(frozen.any()) else taken
    return _rows(weight, indices)


def _rows(weight: Any, indices: Any) -> Any:
    if not ON_CPU:
        return mint.nn.functional.embedding(indices, weight)
    if capturing():
        return ops.gather(weight, indices, 0)
    return weight[indices]


@op("_C._nn.pad", "nn.functional.pad")
def pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """Pad from the last dimension backwards: constant, reflect, replicate or circular; negative amounts crop."""
    amounts = [int(p) for p in pad]
    rank = len(raw_shape(input))
    if len(amounts) % 2 or len(amounts) > 2 * rank:
        raise RuntimeError(
            "Padding length must be divisible by 2 and at most twice the number of dimensions of the input"
        )
    x = input
    for i in range(len(amounts) // 2):
        d, before, after = rank - 1 - i, amounts[2 * i], amounts[2 * i + 1]
        x = _pad_one(x, d, before, after, mode, 0 if value is None else value)
    return x * 1 if x is input else x


def _pad_one(x: Any, d: int, before: int, after: int, mode: str, value: Any) -> Any:
    n = raw_shape(x)[d]
    if before < 0 or after < 0:
        x = x.narrow(d, max(-before, 0), n - max(-before, 0) - max(-after, 0))
        before, after, n = max(before, 0), max(after, 0), raw_shape(x)[d]
    if not before and not after:
        return x
    if mode == "constant":
        shape = list(raw_shape(x))

        def block(size: int) -> list:
            shape[d] = size
            return [x.new_full(tuple(shape), value)] if size else []

        first, last = block(before), block(after)
        return wrap(_cat([*first, x, *last], d))
    index = np.arange(-before, n + after)
    if mode == "reflect":
        if max(before, after) >= n:
            raise RuntimeError(
                "Padding size should be less than the corresponding input dimension, but got: padding "
                f"({before}, {after}) at dimension {d} of input {list(raw_shape(x))}"
            )
        index = np.abs(index)
        index = np.where(index >= n, 2 * (n - 1) - index, index)
    elif mode == "replicate":
        index = np.clip(index, 0, n - 1)
    elif mode == "circular":
        index = index % n
    else:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    return x.index_select(d, wrap(from_numpy(index)))


def _cat(parts: list, d: int) -> Any:
    from .shape import cat

    return cat.impls["any"](parts, d)


@op("_C._nn.cross_entropy_loss")
@widened
def cross_entropy_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    """Cross entropy of logits (N, C, ...) and class indices (N, ...) or probabilities; 0 none, 1 mean, 2 sum."""
    dim = 0 if len(raw_shape(input)) == 1 else 1
    logp = input.log_softmax(dim)
    if tuple(raw_shape(target)) == tuple(raw_shape(input)) and target.dtype.is_floating_point:
        return _soft_target_loss(logp, target, weight, reduction, label_smoothing, dim)
    nll = wrap(nll_loss.impls["any"](logp, target, weight, reduction, ignore_index))
    if label_smoothing == 0:
        return nll
    classes = raw_shape(input)[dim]
    keep = (target != ignore_index).to(logp.dtype)
    w = None if weight is None else weight.reshape([-1 if i == dim else 1 for i in range(logp.dim())])
    smooth = -(logp if w is None else logp * w).sum(dim) * keep
    if reduction == 1:
        count = keep.sum() if weight is None else (weight[target.clamp(min=0)] * keep).sum()
        smooth = smooth.sum() / count
    elif reduction == 2:
        smooth = smooth.sum()
    return nll * (1 - label_smoothing) + smooth * (label_smoothing / classes)


def _soft_target_loss(logp: Any, target: Any, weight: Any, reduction: int, smoothing: float, dim: int) -> Any:
    classes = raw_shape(logp)[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        target = target * weight.reshape([-1 if i == dim else 1 for i in range(logp.dim())])
    loss = -(logp * target).sum(dim)
    return loss if reduction == 0 else loss.sum() if reduction == 2 else loss.sum() / (logp.numel() // classes)


@op("_C._nn.nll_loss_nd", "nll_loss", "_C._nn.nll_loss")
@widened
def nll_loss(input: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100) -> Any:
    """Minus the log probability of the target class, weighted; targets of `ignore_index` do not count."""
    dim = 0 if len(raw_shape(input)) == 1 else 1
    keep = target != ignore_index
    safe = target.masked_fill(~keep, 0).long()
    classes = raw_shape(input)[dim]
    if safe.numel() and readable(safe) and not (int(memory(safe).min()) >= 0 and int(memory(safe).max()) < classes):
        raise IndexError(f"Target {int(memory(safe).max())} is out of bounds.")
    picked = -input.gather(dim, safe.unsqueeze(dim)).squeeze(dim)
    w = keep.to(input.dtype) if weight is None else weight[safe] * keep.to(input.dtype)
    loss = wrap(ops.where(keep, picked, picked.detach() * 0)) if not host(picked) else picked.masked_fill(~keep, 0)
    loss = loss if weight is None else loss * w
    if reduction == 0:
        return loss
    total = loss.sum()
    return total if reduction == 2 else total / w.sum()


def _reduced(loss: Any, reduction: int) -> Any:
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


@op("_C._nn.mse_loss")
def mse_loss(input: Any, target: Any, reduction: int = 1) -> Any:
    """Squared differences."""
    d = input - target
    return _reduced(d * d, reduction)


@op("_C._nn.l1_loss")
def l1_loss(input: Any, target: Any, reduction: int = 1) -> Any:
    """Absolute differences."""
    return _reduced((input - target).abs(), reduction)


@op("_C._nn.smooth_l1_loss")
def smooth_l1_loss(input: Any, target: Any, reduction: int = 1, beta: float = 1.0) -> Any:
    """Quadratic below `beta`, linear above."""
    d = (input - target).abs()
    return _reduced(wrap(ops.where(d.detach() < beta, d * d * (0.5 / beta), d - 0.5 * beta)), reduction)


@op("_C._nn.binary_cross_entropy", "binary_cross_entropy")
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: int = 1) -> Any:
    """Cross entropy of probabilities and targets in [0, 1]."""
    loss = -(target * input.log().clamp(min=-100) + (1 - target) * (1 - input).log().clamp(min=-100))
    return _reduced(loss if weight is None else loss * weight, reduction)


def _positive(x: Any) -> Any:
    """max(x, 0), with half a gradient at 0, which makes the loss smooth there."""
    return x.maximum(x.new_zeros(()))


@op("binary_cross_entropy_with_logits")
@widened
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    """Cross entropy of sigmoid(input) and targets, in a stable form."""
    soft = (-input.abs()).exp().log1p()
    if pos_weight is None:
        loss = _positive(input) - input * target + soft
    else:
        w = (pos_weight - 1) * target + 1
        loss = (1 - target) * input + w * (soft + _positive(-input))
    return _reduced(loss if weight is None else loss * weight, reduction)


@op("cosine_similarity", "nn.functional.cosine_similarity")
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """Dot product over the product of norms, each at least eps."""
    if tuple(raw_shape(x1)) != tuple(raw_shape(x2)):
        shape = np.broadcast_shapes(tuple(raw_shape(x1)), tuple(raw_shape(x2)))
        x1, x2 = x1.expand(shape), x2.expand(shape)
    dot = (x1 * x2).sum(dim)
    from .reduction import vector_norm

    a, b = (wrap(vector_norm.impls["any"](x, 2, dim)).clamp(min=eps) for x in (x1, x2))
    return dot / (a * b)
