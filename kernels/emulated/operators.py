"""The CANN operators that the cann faces call, with their documented semantics, on the CPU.

Same constructors, argument order, output order, shapes and dtypes as MindSpore's primitives; sums in float32, results
rounded as the device rounds them. What the documentation leaves open is made to hurt: a row with everything masked
gives NaN. Backward passes are those of the operators' own gradient kernels, from the saved softmax maximum and sum.

PyTorch computes on shared memory; a call that records is one node of MindSpore's graph.
"""

from typing import Any

import torch

from hf_ascend.torch._fallback import from_real, to_real
from hf_ascend.torch._inplace import records, to_shared
from hf_ascend.torch._ms import MsFunction, TensorPy
from hf_ascend.torch._views import touched

COMPRESSED = 2048
LANES = 8
"""The softmax statistics are repeated to fill 32 bytes."""


class _Node(MsFunction):
    """An operator's call in MindSpore's autograd graph."""

    @staticmethod
    def forward(ctx: Any, op: "Operator", *args: Any) -> Any:
        given = _given(args)
        outputs, kept = op.forward(*given)
        ctx.op, ctx.kept, ctx.given = op, kept, given
        return tuple(from_real(t) for t in outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        with torch.no_grad():
            found = ctx.op.backward(ctx.kept, ctx.given, *(None if g is None else to_real(g) for g in grads))
        found = (*found, *(None for _ in range(len(ctx.given) - len(found))))
        return (None, *(None if g is None else from_real(g.to(t.dtype)) for g, t in zip(found, ctx.given, strict=True)))


def _given(args: tuple[Any, ...]) -> tuple[Any, ...]:
    args = tuple(a[0] if isinstance(a, (list, tuple)) else a for a in args)
    return tuple(to_real(a) if isinstance(a, TensorPy) else a for a in args)


class Operator:
    """Called like a MindSpore primitive; returns one tensor, or a tuple of several."""

    single = False

    def forward(self, *args: Any) -> tuple[tuple[torch.Tensor, ...], Any]:
        """(outputs, what backward needs), from PyTorch tensors, numbers and None."""
        raise NotImplementedError

    def backward(self, kept: Any, given: tuple[Any, ...], *grads: Any) -> tuple[Any, ...]:
        """Gradients of the leading arguments."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def __call__(self, *args: Any) -> Any:
        """The outputs, as MindSpore tensors."""
        if records(*args):
            outputs = _Node.apply(self, *args)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        else:
            with torch.no_grad():
                outputs = tuple(from_real(t) for t in self.forward(*_given(args))[0])
        return outputs[0] if self.single else outputs


class RmsNorm(Operator):
    """(y, rstd): y in x's dtype, rstd (..., 1) float32."""

    def __init__(self, epsilon: float = 1e-6):
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor, gamma: torch.Tensor) -> Any:
        """See Operator."""
        rstd = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.epsilon)
        return ((x.float() * rstd * gamma.float()).to(x.dtype), rstd), rstd

    def backward(self, kept: Any, given: tuple[Any, ...], *grads: Any) -> tuple[Any, ...]:
        """See Operator."""
        x, gamma = (t.float() for t in given)
        dy, normal = grads[0].float(), x * kept
        inner = dy * gamma
        dx = kept * (inner - normal * (inner * normal).mean(-1, keepdim=True))
        return dx, (dy * normal).reshape(-1, x.shape[-1]).sum(0)


class AdamW(Operator):
    """Writes var, m, v and max_v, and returns the first three. Adds 1 to `step` before it corrects the bias."""

    def __call__(self, *args: Any) -> Any:
        """Lists of arguments as in MindSpore's primitive; no gradient is recorded."""
        var, m, v, max_v, gradient = (to_shared(a) for a in args[:5])
        t, (lr, beta1, beta2, decay, eps, amsgrad, maximize) = int(args[5].numpy()[0]) + 1, args[6:]
        with torch.no_grad():
            g = (-gradient if maximize else gradient).float()
            first = m.float() * beta1 + g * (1 - beta1)
            second = v.float() * beta2 + g * g * (1 - beta2)
            if amsgrad:
                max_v.copy_(torch.maximum(max_v.float(), second))
            root = ((max_v.float() if amsgrad else second) / (1 - beta2**t)).sqrt() + eps
            var.copy_(var.float() * (1 - lr * decay) - lr / (1 - beta1**t) * first / root)
            m.copy_(first)
            v.copy_(second)
        touched(args[0])
        return args[0], args[1], args[2]


class RotaryPositionEmbedding(Operator):
    """x * cos + turned(x) * sin, with lanes paired across halves (mode 0) or neighbours (mode 1)."""

    single = True

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mode: int = 0) -> Any:
        """See Operator."""
        y = x.float() * cos.float() + _turned(x.float(), mode) * sin.float()
        return (y.to(x.dtype),), None

    def backward(self, kept: Any, given: tuple[Any, ...], *grads: Any) -> tuple[Any, ...]:
        """See Operator."""
        x, cos, sin = (t.float() for t in given[:3])
        dy, mode = grads[0].float(), given[3]
        dx = dy * cos - _turned(dy * sin, mode)  # the transpose of a quarter turn is its negative
        return dx, (dy * x).sum_to_size(cos.shape), (dy * _turned(x, mode)).sum_to_size(sin.shape)


def _turned(x: torch.Tensor, mode: int) -> torch.Tensor:
    if mode == 0:
        a, b = x.chunk(2, dim=-1)
        return torch.cat((-b, a), dim=-1)
    return torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)


def _masked(scores: torch.Tensor, mask: torch.Tensor | None, mode: int) -> torch.Tensor:
    """Scores (B, N, Sq, Skv) with what `mask` (1 = out) names set to -inf; a compressed mask is unfolded first."""
    if mask is None:
        return scores
    if mode in (2, 3):
        if tuple(mask.shape) != (COMPRESSED, COMPRESSED) or not bool((mask.bool() == _upper(mask)).all()):
            raise ValueError(
                f"sparse_mode {mode}: attn_mask must be the ({COMPRESSED}, {COMPRESSED}) mask, 1 above the diagonal"
            )
        rows, columns = scores.shape[-2:]
        mask = torch.ones(rows, columns, dtype=torch.bool).triu(1 + (columns - rows if mode == 3 else 0))
    return scores.masked_fill(mask.bool(), -torch.inf)


def _upper(mask: torch.Tensor) -> torch.Tensor:
    return torch.ones(mask.shape, dtype=torch.bool).triu(1)


def _grouped(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N1, S, D) as (B, heads, N1 / heads * S, D)."""
    return x.reshape(x.shape[0], heads, -1, x.shape[-1])


def _attend(q: Any, k: Any, v: Any, shift: Any, mask: Any, scale: float, mode: int) -> tuple[Any, Any, Any]:
    """(output in q's dtype, row maxima, row sums): online softmax, weights rounded before they meet the values."""
    heads = k.shape[1]
    scores = (_grouped(q.float(), heads) @ k.float().transpose(-1, -2)).reshape(*q.shape[:3], k.shape[2])
    scores = scale * (scores if shift is None else scores + shift.float())
    scores = _masked(scores, mask, mode)
    top = scores.amax(-1, keepdim=True)
    weights = torch.exp(scores - top)
    total = weights.sum(-1, keepdim=True)
    out = (_grouped(weights.to(q.dtype).float(), heads) @ v.float()).reshape(*q.shape[:3], v.shape[-1]) / total
    return out.to(q.dtype), top, total


class FlashAttentionScore(Operator):
    """(softmax_max, softmax_sum, unused, attention_out) in layout BNSD; the result is the fourth output."""

    def __init__(
        self, head_num: int, keep_prob: float = 1.0, scale_value: float = 1.0, pre_tokens: int = 2147483647,
        next_tokens: int = 2147483647, inner_precise: int = 0, input_layout: str = "BSH", sparse_mode: int = 0,
    ):  # fmt: skip
        if input_layout != "BNSD" or keep_prob != 1.0:
            raise NotImplementedError("emulated in layout BNSD and without dropout only")
        self.head_num, self.scale, self.mode = head_num, scale_value, sparse_mode

    def forward(
        self, query: Any, key: Any, value: Any, real_shift: Any = None, drop_mask: Any = None, padding_mask: Any = None,
        attn_mask: Any = None, prefix: Any = None, actual_seq_qlen: Any = None, actual_seq_kvlen: Any = None,
    ) -> Any:  # fmt: skip
        """See Operator."""
        if query.shape[1] != self.head_num:
            raise ValueError(f"head_num is {self.head_num}, query has {query.shape[1]} heads")
        out, top, total = _attend(query, key, value, real_shift, attn_mask, self.scale, self.mode)
        lanes = (*query.shape[:3], LANES)
        outputs = (
            top.expand(lanes).contiguous(),
            total.expand(lanes).contiguous(),
            torch.zeros(1, dtype=query.dtype),
            out,
        )
        return outputs, (top, total, out)

    def backward(self, kept: Any, given: tuple[Any, ...], *grads: Any) -> tuple[Any, ...]:
        """See Operator."""
        (top, total, out), dy = kept, grads[3].float()
        q, k, v = given[:3]
        shift, mask = (given[i] if len(given) > i else None for i in (3, 6))
        heads, narrow = k.shape[1], q.dtype
        scores = (_grouped(q.float(), heads) @ k.float().transpose(-1, -2)).reshape(*q.shape[:3], k.shape[2])
        scores = _masked(self.scale * (scores if shift is None else scores + shift.float()), mask, self.mode)
        weights = torch.exp(scores - top) / total
        dweights = (_grouped(dy, heads) @ v.float().transpose(-1, -2)).reshape(scores.shape)
        dscores = weights * (dweights - (dy * out.float()).sum(-1, keepdim=True))
        rows = _grouped(dscores.to(narrow).float(), heads)
        dq = self.scale * (rows @ k.float()).reshape(q.shape)
        dk = self.scale * (rows.transpose(-1, -2) @ _grouped(q.float(), heads))
        dv = _grouped(weights.to(narrow).float(), heads).transpose(-1, -2) @ _grouped(dy, heads)
        return dq, dk, dv


class FusedInferAttentionScore(Operator):
    """(attention_out, softmax_lse) for one query row; no gradient."""

    def __init__(
        self, num_heads: int = 1, scale_value: float = 1.0, input_layout: str = "BSH", num_key_value_heads: int = 0,
        sparse_mode: int = 0, inner_precise: int = 1,
    ):  # fmt: skip
        if input_layout != "BNSD":
            raise NotImplementedError("emulated in layout BNSD only")
        self.heads, self.scale, self.kv_heads = num_heads, scale_value, num_key_value_heads or num_heads

    def forward(self, query: Any, key: Any, value: Any, pse_shift: Any = None, attn_mask: Any = None) -> Any:
        """See Operator."""
        if (query.shape[1], key.shape[1]) != (self.heads, self.kv_heads) or query.shape[2] != 1:
            raise ValueError(
                f"one row of {self.heads} heads over {self.kv_heads}, got {tuple(query.shape)}, {tuple(key.shape)}"
            )
        out, _, _ = _attend(query, key, value, None, attn_mask, self.scale, 0)
        return (out, torch.zeros(1)), None
