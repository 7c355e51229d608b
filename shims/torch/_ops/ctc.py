"""Connectionist temporal classification (Graves et al. 2006): the loss over all alignments of a target."""

from typing import Any

from .. import _dtypes
from .._ms import MsFunction
from ._common import ON_CPU, cast, from_numpy, is_tensor, memory, np, op, ops, raw_shape, wrap


def _extended(target: np.ndarray, blank: int) -> np.ndarray:
    out = np.full(2 * len(target) + 1, blank, np.int64)
    out[1::2] = target
    return out


def _alphas(emit: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """(time, states) log probabilities of all paths that are in a state at a time, from the front."""
    steps, states = emit.shape
    alpha = np.full((steps, states), -np.inf)
    alpha[0, :2] = emit[0, :2]
    for t in range(1, steps):
        before = alpha[t - 1]
        stay = np.logaddexp(before, np.r_[-np.inf, before[:-1]])
        jump = np.where(skip, np.r_[-np.inf, -np.inf, before[:-2]][:states], -np.inf)
        alpha[t] = np.logaddexp(stay, jump) + emit[t]
    return alpha


def _sequence(logp: np.ndarray, target: np.ndarray, blank: int) -> tuple[float, np.ndarray]:
    """(loss, gradient (time, classes)) of one sequence; the gradient is torch's, for normalised probabilities."""
    grad = np.zeros(logp.shape)
    if not len(logp):
        return (0.0 if not len(target) else np.inf), grad
    states = _extended(target, blank)
    emit = logp[:, states]
    skip = np.r_[False, False, (states[2:] != blank) & (states[2:] != states[:-2])][: len(states)]
    alpha = _alphas(emit, skip)
    loss = -np.logaddexp.reduce(alpha[-1, -2:])
    # From the back: the same recursion on the sequence turned round.
    back = states[::-1]
    skip = np.r_[False, False, (back[2:] != blank) & (back[2:] != back[:-2])][: len(back)]
    beta = _alphas(emit[::-1, ::-1], skip)[::-1, ::-1]
    if np.isfinite(loss):
        both = np.full(logp.shape, -np.inf)
        for s, c in enumerate(states):
            both[:, c] = np.logaddexp(both[:, c], alpha[:, s] + beta[:, s])
        grad = np.exp(logp) - np.exp(both + loss - logp)
    else:
        grad[:] = np.nan
    return loss, grad


class _Ctc(MsFunction):
    """Losses (N,) of log probabilities (T, N, C)."""

    @staticmethod
    def forward(ctx: Any, logp: Any, targets: list[np.ndarray], lengths: list[int], blank: int, zero: bool) -> Any:
        a = memory(logp)
        losses, grads = np.zeros(a.shape[1]), np.zeros(a.shape)
        with np.errstate(all="ignore"):
            for n, (target, length) in enumerate(zip(targets, lengths, strict=True)):
                losses[n], grads[:length, n] = _sequence(a[:length, n].astype(np.float64), target, blank)
                if zero and not np.isfinite(losses[n]):
                    losses[n], grads[:, n] = 0, 0
        ctx.save_for_backward(from_numpy(grads.astype(a.dtype)))
        return from_numpy(losses.astype(a.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return wrap(ctx.saved_tensors[0]) * wrap(grad).reshape(1, -1, 1), None, None, None, None


def _numbers(x: Any) -> list[int]:
    return [int(v) for v in (memory(x.detach()).reshape(-1) if is_tensor(x) else x)]


@op("ctc_loss")
def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 1,
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """The CTC loss of log probabilities (T, N, C) or (T, C); targets (N, S), or all in one vector."""
    if not ON_CPU:
        names = ("none", "mean", "sum")
        return ops.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, names[reduction], zero_infinity)
    if log_probs.dtype not in (_dtypes.float32, _dtypes.float64):
        raise NotImplementedError("ctc_loss of half precision")
    batched = len(raw_shape(log_probs)) == 3
    logp = log_probs if batched else log_probs.unsqueeze(1)
    inputs, wanted = _numbers(input_lengths), _numbers(target_lengths)
    if not 0 <= blank < raw_shape(logp)[2]:
        raise RuntimeError("blank must be in label range")
    if len(inputs) != raw_shape(logp)[1] or len(wanted) != raw_shape(logp)[1]:
        raise RuntimeError("input_lengths and target_lengths must be of size batch_size")
    if any(not 0 <= n <= raw_shape(logp)[0] for n in inputs):
        raise RuntimeError(f"Expected input_lengths to have value at most {raw_shape(logp)[0]}, got {max(inputs)}")
    t = memory(targets.detach())
    if t.ndim == 2:
        labels = [row[:n] for row, n in zip(t, wanted, strict=True)]
    else:
        ends = np.cumsum([0, *wanted])
        labels = [t[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    losses = wrap(_Ctc.apply(logp, labels, inputs, blank, zero_infinity))
    if reduction == 1:
        sizes = np.maximum(np.asarray(wanted), 1)
        return (losses / cast(wrap(from_numpy(sizes)), losses.dtype)).mean()
    return losses.sum() if reduction == 2 else losses if batched else losses.squeeze(0)
