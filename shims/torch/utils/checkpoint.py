"""torch.utils.checkpoint: recompute activations in the backward pass instead of keeping them.

Upstream's rests on PyTorch's saved tensor hooks. Here the function runs unrecorded, and its backward runs
it again, recorded, with the random state of the first time.
"""

import contextlib
import enum
import functools
import inspect
import sys
from typing import Any

from .. import _autograd, autocast, get_autocast_dtype, is_autocast_cache_enabled, is_autocast_enabled
from .._device import HOME
from .._grad_mode import enable_grad, is_grad_enabled
from .._ms import MsFunction, TensorPy, capturing, run_backward
from .._ops.random import default_generator
from .._registry import wrap
from ..autograd.function import without_gradient


class CheckpointError(RuntimeError):
    """The recomputation went differently."""


class CheckpointPolicy(enum.Enum):
    """What a policy function of selective checkpointing answers for an operator."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


class SelectiveCheckpointContext:
    """What a policy function is told beside the operator."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None):
        self.is_recompute = is_recompute
        self.op_output = op_output


def create_selective_checkpoint_contexts(policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False) -> tuple:
    """Two contexts that keep nothing: a policy trades memory for time and changes no result, so all is recomputed."""
    if not callable(policy_fn_or_list) and not isinstance(policy_fn_or_list, list):
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    return noop_context_fn()


class _Recompute(MsFunction):
    @staticmethod
    def forward(ctx: Any, run: Any, contexts: tuple, box: list, parameters: int, anchor: Any, *tensors: Any) -> Any:
        """The last so many `parameters` of `tensors` are those that `run` uses by itself and wants gradients of."""
        from .._grad_mode import no_grad

        split = len(tensors) - parameters
        ctx.run, ctx.tensors, ctx.parameters = run, tensors[:split], tensors[split:]
        tensors = ctx.tensors
        ctx.state = default_generator.get_state()
        first, ctx.again = contexts
        ctx.autocast = is_autocast_enabled(), get_autocast_dtype(HOME.type), is_autocast_cache_enabled()
        with no_grad(), first:
            out = run(tensors)
        many = isinstance(out, (tuple, list))
        flat = [o for o in (out if many else (out,)) if isinstance(o, TensorPy)]
        box.append((many, out))
        flat = [o.view(o.shape) if any(o is t for t in tensors) else o for o in flat]
        if fixed := without_gradient(flat):
            ctx.mark_non_differentiable(*fixed)
        return tuple(flat)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        kept = default_generator.get_state()
        default_generator.set_state(ctx.state)
        try:
            enabled, dtype, cached = ctx.autocast
            with enable_grad(), autocast(HOME.type, dtype, enabled, cached), ctx.again:
                inputs = tuple(wrap(t.detach()).requires_grad_(True) if t._requires_grad else t for t in ctx.tensors)
                out = ctx.run(inputs)
        finally:
            default_generator.set_state(kept)
        flat = [o for o in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(o, TensorPy)]
        if len(flat) != len(grads):
            raise CheckpointError(f"the recomputation returned {len(flat)} tensors, the first run {len(grads)}")
        earlier = [_autograd.get_grad(p) for p in ctx.parameters]
        for p in ctx.parameters:
            _autograd.set_grad(p, None)
        pairs = [(o, g) for o, g in zip(flat, grads, strict=True) if o._requires_grad and g is not None]
        if pairs:
            run_backward(
                tuple(o for o, _ in pairs), tuple(g for _, g in pairs), False, False, (), True, accumulate_grad=True
            )
        by_parameter = [_autograd.get_grad(p) for p in ctx.parameters]
        for p, g in zip(ctx.parameters, earlier, strict=True):
            _autograd.set_grad(p, g)
        return (
            *(None,) * 5,
            *(
                _autograd.get_grad(t) if t._requires_grad and a._requires_grad else None
                for t, a in zip(inputs, ctx.tensors, strict=True)
            ),
            *by_parameter,
        )


def _functional() -> bool:
    """Whether mindspore.value_and_grad or grad is running, which sees no gradient but those returned to it."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "_pynative_func_grad_forward":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _parameters(function: Any) -> list[Any]:
    """The parameters that require gradients of the modules a function belongs to, is bound to or closes over."""
    from ..nn import Module

    found: dict[int, Any] = {}
    seen: set[int] = set()

    def search(owner: Any) -> None:
        if id(owner) in seen:
            return
        seen.add(id(owner))
        if isinstance(owner, Module):
            found.update((id(p), p) for p in owner.parameters() if p._requires_grad)
        elif isinstance(owner, functools.partial):
            for part in (owner.func, *owner.args, *owner.keywords.values()):
                search(part)
        elif inspect.isroutine(owner):
            search(getattr(owner, "__self__", None))
            for cell in getattr(owner, "__closure__", None) or ():
                search(cell.cell_contents)

    search(function)
    return list(found.values())


def checkpoint(
    function: Any, *args: Any, use_reentrant: Any = None, context_fn: Any = None, determinism_check: str = "default",
    debug: bool = False, preserve_rng_state: bool = True, early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, recomputed when its gradient is needed. Parameters inside get their gradients too."""  # noqa: E501
    if not is_grad_enabled() or capturing():  # what a captured graph keeps is for MindSpore's compiler to decide
        return function(*args, **kwargs)
    if use_reentrant and context_fn is not None:
        raise ValueError("Passing `context_fn` is only supported when use_reentrant=False.")
    places: list[Any] = []
    tensors: list[Any] = []
    for where, values in ((args, range(len(args))), (kwargs, kwargs)):
        for key in values:
            if isinstance(where[key], TensorPy):  # type: ignore[index]
                places.append((where is kwargs, key))
                tensors.append(where[key])  # type: ignore[index]

    def run(now: Any) -> Any:
        a, k = list(args), dict(kwargs)
        for (named, key), t in zip(places, now, strict=True):
            if named:
                k[key] = t
            else:
                a[key] = t
        return function(*a, **k)

    from .. import zeros

    anchor = zeros(()).requires_grad_(True)  # makes the node part of the graph when only parameters need gradients
    box: list = []
    # backward() adds to the parameters' .grad from inside; MindSpore's functional gradients want them as inputs.
    own = _parameters(functools.partial(function, *args, **kwargs)) if _functional() else []
    outs = _Recompute.apply(run, (context_fn or noop_context_fn)(), box, len(own), anchor, *tensors, *own)
    flat = iter(outs if isinstance(outs, tuple) else (outs,))
    many, plan = box[0]
    if not many:
        return wrap(next(flat)) if isinstance(plan, TensorPy) else plan
    return type(plan)(wrap(next(flat)) if isinstance(o, TensorPy) else o for o in plan)


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: Any = None, **kwargs: Any) -> Any:  # noqa: A002
    """A sequence of modules in checkpointed segments."""
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = max(1, len(functions) // segments)

    def run(start: int, end: int) -> Any:
        def forward(x: Any) -> Any:
            for f in functions[start:end]:
                x = f(x)
            return x

        return forward

    start = 0
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(run(start, start + size), input)  # noqa: A001
    return run(size * (segments - 1), len(functions))(input)


def noop_context_fn() -> tuple:
    """Two empty contexts."""
    return contextlib.nullcontext(), contextlib.nullcontext()
