"""torch.autograd.Function on MindSpore's custom gradient node. Upstream's is a C++ class."""

from typing import Any

from .._grad_mode import no_grad
from .._ms import MsFunction, TensorPy
from .._registry import wrap


class FunctionCtx:
    """What `forward` leaves for `backward`."""

    needs_input_grad: tuple[bool, ...] = ()
    saved_tensors: tuple = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (or None)."""
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """These outputs get no gradient."""
        self._not_differentiable = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """These inputs were changed in place."""

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients arrive as zeros (True) or None."""
        self._materialize = value


class _Node(MsFunction):
    @staticmethod
    def forward(ctx: Any, cls: Any, user: Any, box: list, *args: Any) -> Any:
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                out = cls.forward(*args)
                cls.setup_context(user, args, out)
            else:
                out = cls.forward(user, *args)
        ctx.user, ctx.cls = user, cls
        many = isinstance(out, (tuple, list))
        outs = tuple(out) if many else (out,)
        # A returned input must become a node of its own.
        outs = tuple(o.view(o.shape) if any(o is a for a in args) else o for o in outs if isinstance(o, TensorPy))
        box.append((many, out))
        marked = [*getattr(user, "_not_differentiable", ()), *without_gradient(outs)]
        if marked:
            ctx.mark_non_differentiable(*marked)
        ctx.set_materialize_grads(getattr(user, "_materialize", True))
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        found = ctx.cls.backward(ctx.user, *(wrap(g) for g in grads))
        found = found if isinstance(found, tuple) else (found,)
        return (None, None, None, *found)


def without_gradient(tensors: Any) -> list[Any]:
    """Those of types that have no gradients: indices, masks. MindSpore would take them for results with one."""
    return [t for t in tensors if not (t.dtype.is_floating_point or t.dtype.is_complex)]


class Function:
    """A differentiable operation with a hand-written gradient: static `forward(ctx, ...)` and `backward(ctx, *grads)`."""  # noqa: E501

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Keep what `backward` needs, when `forward` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """One gradient (or None) per input of `forward`."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` and record `backward`."""
        if kwargs:
            import inspect

            bound = inspect.signature(cls.forward).bind(
                *(() if cls.setup_context is not Function.setup_context else (None,)), *args, **kwargs
            )
            bound.apply_defaults()
            args = bound.args if cls.setup_context is not Function.setup_context else bound.args[1:]
        user = FunctionCtx()
        user.needs_input_grad = tuple(isinstance(a, TensorPy) and bool(a._requires_grad) for a in args)
        box: list = []
        outs = _Node.apply(cls, user, box, *args)
        outs = iter(outs if isinstance(outs, tuple) else (outs,))
        many, plan = box[0]
        if not many:
            return wrap(next(outs)) if isinstance(plan, TensorPy) else plan
        return tuple(wrap(next(outs)) if isinstance(o, TensorPy) else o for o in plan)


def once_differentiable(fn: Any) -> Any:
    """Marks a backward that cannot be differentiated again."""
    return fn
