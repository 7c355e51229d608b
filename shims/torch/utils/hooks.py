"""torch.utils.hooks, executed; module backward hooks sit on a node of ours, since upstream asks a C++ node for them."""

from typing import Any

from .._grad_mode import is_grad_enabled
from .._tensor import Tensor
from . import hooks__upstream as upstream
from .hooks__upstream import *  # noqa: F403
from .hooks__upstream import BackwardHook


class _Node:
    """Stands for the C++ node: keeps the hooks of one place in the graph."""

    def __init__(self) -> None:
        self.hooks: list[Any] = []

    def register_hook(self, hook: Any) -> None:
        """Call `hook(grad_inputs, grad_outputs)`; a result replaces the former."""
        self.hooks.append(hook)


def _pass_through(node: _Node, tensors: list[Any]) -> tuple:
    from ..autograd import Function

    class PassThrough(Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> tuple:
            ctx.mark_non_differentiable(*(a for a in args if not a.requires_grad))
            return args

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> tuple:
            found = grads
            for hook in node.hooks:
                result = hook(found, grads)
                found = found if result is None else result
            return found

    return PassThrough.apply(*tensors)


def _apply_on_tensors(self: BackwardHook, fn: Any, args: Any) -> tuple:
    at = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    tensors = [args[i] for i in at]
    if not (is_grad_enabled() and any(t.requires_grad for t in tensors)):
        return args, None
    node = _Node()
    fn(node)
    out = list(args)
    for i, t in zip(at, _pass_through(node, tensors), strict=True):
        out[i] = t
    return (tuple(out) if type(args) is tuple else type(args)(*out)), at


BackwardHook._apply_on_tensors = _apply_on_tensors


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
