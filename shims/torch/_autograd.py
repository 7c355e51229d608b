"""torch.autograd's engine calls over MindSpore's imperative autograd."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch as real

from hf_ascend.runtime import heap, workers

from . import _dtypes, _fallback, _inplace, _registry, _views
from ._grad_mode import ensure_recording
from ._ms import ON_CPU, MsTensor, capturing, ms, raw_dtype, raw_shape, refuse, run_backward


def _seed(x: Any, gradient: Any) -> Any:
    if gradient is None:
        if int(np.prod(raw_shape(x))) != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return (
            ms.ops.ones(tuple(raw_shape(x)), raw_dtype(x))
            if raw_dtype(x) == ms.bfloat16
            else _inplace.from_numpy(np.ones(tuple(raw_shape(x)), _dtypes.BY_MS[raw_dtype(x)].np))
        )
    if tuple(gradient.shape) != tuple(raw_shape(x)):
        raise RuntimeError(
            f"Mismatch in shape: grad_output has a shape of {gradient.shape} and output has a shape of {x.shape}."
        )
    return gradient


def _check(x: Any) -> None:
    if not x._requires_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")


def _tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _run(*args: Any, accumulate_grad: bool) -> Any:
    if capturing():
        refuse(
            "a gradient computed inside a captured function would be that of this run alone. Capture the loss, and "
            "take mindspore.value_and_grad of the captured function, or call backward() on its result"
        )
    before = _fallback.keeping, _fallback.creating, _fallback.accumulating
    _fallback.keeping, _fallback.creating, _fallback.accumulating = bool(args[2]), bool(args[3]), accumulate_grad
    try:
        return run_backward(*args, accumulate_grad=accumulate_grad)
    except RuntimeError as error:
        ensure_recording()  # an error inside MindSpore switches its recording off
        if "backward the graph twice" in str(error):
            raise RuntimeError(
                "Trying to backward through the graph a second time. Specify retain_graph=True if you need to."
            ) from None
        raise
    finally:
        _fallback.keeping, _fallback.creating, _fallback.accumulating = before


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    grad_variables: Any = None, inputs: Any = None,
) -> None:  # fmt: skip
    """Accumulate the gradients of `tensors` into the leaves' `.grad` (shapes and dtypes of the leaves).

    Raises RuntimeError when an output requires no gradient, is not a scalar and comes without
    `grad_tensors`, or when its graph was freed.
    """
    workers.check_training()
    outputs = _tuple(tensors)
    grads = _tuple(grad_tensors) if grad_tensors is not None else (None,) * len(outputs)
    for x in outputs:
        _check(x)
    seeds = tuple(_seed(x, g) for x, g in zip(outputs, grads, strict=True))
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        wanted = _tuple(inputs)
        for x, g in zip(wanted, grad(outputs, wanted, seeds, keep, create_graph, allow_unused=True), strict=True):
            if g is not None:
                set_grad(x, g if get_grad(x) is None else get_grad(x) + g)
        return
    _run(outputs, seeds, keep, create_graph, (), True, accumulate_grad=True)
    _after_backward()
    if ON_CPU:
        heap.tidy()


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False, **kwargs: Any,
) -> tuple:  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`, in their order; None where unused and allowed."""
    outs, ins = _tuple(outputs), _tuple(inputs)
    seeds = tuple(
        _seed(x, g)
        for x, g in zip(outs, _tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outs), strict=True)
    )
    for x in outs:
        _check(x)
    for x in ins:
        if not x._requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    # One call per input: MindSpore stops the flow at a requested input, so inputs behind it would get None.
    found = [
        _run(outs, seeds, keep or i + 1 < len(ins), create_graph, (x,), True, accumulate_grad=False)[0]
        for i, x in enumerate(ins)
    ]
    for i, (x, g) in enumerate(zip(ins, found, strict=True)):
        if g is None and materialize_grads:
            found[i] = x.new_zeros(x.shape)
        elif g is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True "
                "if this is the desired behavior."
            )
        elif g is not None:
            _registry.wrap(g)
            if not create_graph and g._requires_grad:
                found[i] = g.detach()
    return tuple(found)


_grad_of = MsTensor._grad.__get__


def get_grad(x: Any) -> Any:
    """The accumulated gradient, or None; the same object each time it is asked for."""
    kept = x.__dict__.get("_kept_grad")
    g = _grad_of(x)
    if g is None:
        return (
            kept
            if kept is not None and not isinstance(kept, _Keeper)
            else (kept.grad if isinstance(kept, _Keeper) else None)
        )
    seen = x.__dict__.get("_grad_seen")
    if seen is not None and seen.data_ptr() == g.data_ptr():
        return seen
    _registry.wrap(g)
    g = MsTensor.data.__get__(g) if not g._requires_grad else g
    _registry.wrap(g)
    x.__dict__["_grad_seen"] = g
    return g


def set_grad(x: Any, value: Any) -> None:
    """Assign the gradient. Raises RuntimeError for a gradient of another shape."""
    x.__dict__.pop("_grad_seen", None)
    if value is not None and tuple(value.shape) != tuple(raw_shape(x)):
        raise RuntimeError(
            f"assigned grad has data of a different size: {tuple(value.shape)} for {tuple(raw_shape(x))}"
        )
    MsTensor._grad.__set__(x, value)
    if value is not None:
        x.__dict__["_grad_seen"] = value


def _accumulates_here(x: Any) -> bool:
    """Whether a node may add to the gradient of its argument `x` itself: a leaf, whose gradient no hook waits for."""
    return x._is_leaf and "_hooked" not in x.__dict__


def _accumulate(x: Any, gradient: Any, owned: bool) -> None:
    """Add a tensor of PyTorch to a leaf's `.grad`, or make it that if it is `owned`: if nothing else has its memory.

    Given to MindSpore, it would be copied (see own_gradient): a tenth of a training step.
    """
    found = get_grad(x)
    if found is None:
        fresh = gradient if owned and gradient.is_contiguous() else gradient.clone(memory_format=real.contiguous_format)
        set_grad(x, _registry.wrap(_fallback.from_real(fresh)))
    else:
        _inplace.to_shared(found).add_(gradient)
        _views.touched(found)


_fallback.accumulates_here, _fallback.accumulate = _accumulates_here, _accumulate


def own_gradient(x: Any) -> None:
    """Give a leaf gradients in memory of their own.

    MindSpore clones a gradient that something else still holds, with an operator that has no CPU kernel,
    and would otherwise let two leaves share one. A hook that copies settles both.
    """
    if ON_CPU and x._is_leaf and "_owns_grad" not in x.__dict__:
        x.__dict__["_owns_grad"] = MsTensor.register_hook(x, _copied)


def _copied(g: Any) -> Any:
    if g._requires_grad or raw_dtype(g) == ms.bfloat16:
        return _registry.wrap(g) * 1  # part of the graph of second derivatives
    return _inplace.from_numpy(np.array(_inplace.memory(MsTensor.data.__get__(g)), order="C"))


class _Handle:
    """Removes a hook; also usable in a with statement."""

    def __init__(self, remove: Callable[[], None]):
        self._remove = remove

    def remove(self) -> None:
        self._remove()

    def __enter__(self) -> "_Handle":
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_hook(x: Any, hook: Callable[[Any], Any]) -> Any:
    """Call `hook(gradient)` when it is computed; a returned tensor replaces it."""
    if not x._requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")

    def call(g: Any) -> Any:
        result = hook(_registry.wrap(g))
        return g if result is None else result

    x.__dict__["_hooked"] = True
    return MsTensor.register_hook(x, call)


class _Keeper:
    grad: Any = None


def retain_grad(x: Any) -> None:
    """Keep the gradient of a tensor that is not a leaf in its `.grad`."""
    if x._is_leaf or "_kept_grad" in x.__dict__:
        return
    keeper = x.__dict__["_kept_grad"] = _Keeper()

    def keep(g: Any) -> None:
        keeper.grad = g.detach() if keeper.grad is None else keeper.grad + g

    register_hook(x, keep)


_post_hooks: "weakref.WeakKeyDictionary[Any, list[Callable[[Any], Any]]]" = weakref.WeakKeyDictionary()


def register_post_accumulate_grad_hook(x: Any, hook: Callable[[Any], Any]) -> _Handle:
    """Call `hook(x)` after a backward pass has accumulated into `x.grad`."""
    if not (x._is_leaf and x._requires_grad):
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    state = {"hit": False}

    def mark(g: Any) -> None:
        state["hit"] = True

    inner = register_hook(x, mark)
    entry = (state, hook)
    _post_hooks.setdefault(x, []).append(entry)  # type: ignore[arg-type]
    return _Handle(lambda: (inner.remove(), _post_hooks[x].remove(entry)) and None)  # type: ignore[arg-type,func-returns-value]  # noqa: SIM223


def _after_backward() -> None:
    for x, entries in list(_post_hooks.items()):
        for state, hook in list(entries):  # type: ignore[misc]
            if state["hit"]:
                state["hit"] = False
                hook(x)


__all__: Sequence[str] = ("backward", "get_grad", "grad", "register_hook", "retain_grad", "set_grad")
