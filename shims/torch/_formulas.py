"""Operators on the CPU whose gradient is a formula here: nodes that need no graph of PyTorch's behind them.

`_fallback.TorchCall` has PyTorch record each call and asks its engine for the gradient. That is right for any operator,
and costs what a training step of many operators notices. The few that such a step is made of state their gradient.
PyTorch's own function remains what computes where nothing is recorded, where the gradient is recorded itself
(create_graph), and where the formula does not fit.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch as real

from . import _fallback
from ._fallback import _TWICE, Call, to_real
from ._ms import MsFunction, raw_requires_grad, raw_shape


class Formula:
    """An operator with its gradient.

    * `whole`: PyTorch's differentiable function of the same arguments.
    * `fits(*args)`: whether the formula holds for these arguments of MindSpore.
    * `forward(*args)`: a result, or a tuple of them, and what `backward` is to get; on PyTorch's tensors, as all below.
    * `backward(kept, gradients, wanted)`: the gradients by position among the arguments that are tensors, at least
      those in `wanted`. It gets one gradient a result, None for one that is not used, and leaves them as they are.
    * `reads(wanted)`: the positions of the arguments that `backward` reads, which must not be overwritten before.
    """

    def __init__(
        self, whole: Callable[..., Any], forward: Callable[..., Any],
        backward: Callable[[Any, Sequence[Any], Sequence[int]], dict[int, real.Tensor]], *,
        fits: Callable[..., bool], reads: Callable[[Sequence[int]], Iterable[int]],
    ):  # fmt: skip
        self.whole, self.forward, self.backward, self.fits, self.reads = whole, forward, backward, fits, reads

    def __call__(self, *args: Any, **options: Any) -> Any:
        """PyTorch's function."""
        return self.whole(*args, **options)


class FormulaNode(MsFunction):
    """One call of an operator with a formula, as a node of MindSpore's autograd graph."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Any) -> Any:
        out, call.leaves = call.fill(call.fn.forward, [to_real(t, alone=False) for t in tensors])
        call.wanted, ctx.call = tuple([i for i, t in enumerate(tensors) if raw_requires_grad(t)]), call
        if out.__class__ is real.Tensor:
            call.structure, out = _fallback._ONLY, (out,)
        else:
            call.structure = tuple(map(_fallback._slot, range(len(out))))
        return call.finish(ctx, tensors, out)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        call = ctx.call
        if call.leaves is None:
            raise RuntimeError(_TWICE)
        wanted, out = call.wanted, [None] * (len(call.given) + 1)
        for i in call.fn.reads(wanted):
            if (now := call.given[i]()) is not None and now._version != call.versions[i]:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"argument {i} of {call.fn.whole.__name__}, of shape {list(raw_shape(now))}, is at version "
                    f"{now._version}; expected version {call.versions[i]} instead."
                )
        if _fallback.creating:
            _fallback.give_recorded(ctx, [(i, g) for i, g in enumerate(grads) if g is not None], out)
            return tuple(out)
        seeds = [None if g is None else to_real(g, alone=False) for g in grads]
        _fallback.give(call, seeds, call.fn.backward(call.leaves, seeds, wanted), out)
        if not _fallback.keeping:
            call.leaves = call.given = None
        return tuple(out)


_fallback.apply_formula = super(MsFunction, FormulaNode).apply
_fallback.Formula = Formula


# ---- linear
def _linear_forward(input: real.Tensor, weight: real.Tensor, bias: real.Tensor | None = None) -> Any:  # noqa: A002
    return real.nn.functional.linear(input, weight, bias), (input, weight)


def _linear_backward(kept: Any, gradients: Sequence[Any], wanted: Sequence[int]) -> dict[int, real.Tensor]:
    """For y = x W^T + b: dx = dy W, dW = dy^T x, db = sum of dy over the rows."""
    (x, weight), g = kept, gradients[0]
    rows, found = g.reshape(-1, g.shape[-1]), {}
    if 0 in wanted:
        found[0] = rows.mm(weight).view(x.shape)
    if 1 in wanted:
        found[1] = rows.t().mm(x.reshape(-1, x.shape[-1]))
    if 2 in wanted:
        found[2] = rows.sum(0)
    return found


def _linear_fits(input: Any, weight: Any, bias: Any = None) -> bool:  # noqa: A002
    return len(raw_shape(input)) > 1 and len(raw_shape(weight)) == 2 and input.dtype.is_floating_point


LINEAR = Formula(
    real.nn.functional.linear, _linear_forward, _linear_backward, fits=_linear_fits,
    reads=lambda wanted: [i for i in (0, 1) if 1 - i in wanted],
)  # fmt: skip
"""y = x W^T + b for x (..., in), W (out, in), b (out)."""
