"""Memory, and in-place operators.

MindSpore's in-place operators do nothing on the CPU, so the stand-in has its own rule. Storing `value` into `x` is
one of:

* nothing records: the memory of `x` is overwritten, and everyone who shares it sees the change;
* autograd records: `_views.store`.
"""

import weakref
from typing import Any

import numpy as np
import torch as real

from . import _capture, _dtypes, _fallback, _registry, _views
from ._ms import (
    ON_CPU,
    MsFunction,
    MsTensor,
    TensorPy,
    aside,
    capturing,
    executor,
    jit_state,
    raw_address,
    raw_dtype,
    raw_shape,
    refuse_capture,
    replace_impl,
    traced,
)


def memory(x: Any) -> np.ndarray:
    """A numpy array on the memory of a CPU tensor, strides and all. bfloat16 appears as uint16."""
    if jit_state._jit_context is not None:
        refuse_capture(x)
    known = x.__dict__.get("_np")
    address = raw_address(x)
    if known is not None and known[1] == address:
        return known[0]
    kind = raw_dtype(x)
    d = (_dtypes.BY_ID.get(id(kind)) or _dtypes.BY_MS[kind]).np
    shape = tuple(raw_shape(x))
    if 0 in shape:
        return np.empty(shape, d)
    size = d.itemsize
    strides = tuple([s * size for s in TensorPy.stride(x)])
    # The array holds the storage, not `x`: a recorded in-place write can give `x` another.
    a = np.asarray(_views._Raw(TensorPy.untyped_storage(x), address, shape, d, strides))
    if jit_state._jit_context is None:  # a capture takes what has this for a constant
        x.__dict__["_np"] = (a, address, None)
    return a


def to_shared(x: Any) -> real.Tensor:
    """A PyTorch tensor on the memory of a CPU tensor, strides and all.

    Who has PyTorch write there calls `_views.touched(x)`.
    """
    a = memory(x)
    known = x.__dict__.get("_np")
    if known is not None and known[0] is not a:
        known = None  # of earlier memory: without elements, or in a capture, `memory` keeps nothing
    if known is not None and known[2] is not None:
        return known[2].data  # another tensor each time: it gets a version and a gradient of its own
    if raw_dtype(x) is _dtypes.bfloat16.ms:
        t = real.from_numpy(a.view(np.int16)).view(real.bfloat16)
    else:
        t = real.from_numpy(a)
    if known is not None:
        x.__dict__["_np"] = (a, known[1], t)
        return t.data
    return t


_fallback._to_shared = to_shared


def from_numpy(a: np.ndarray) -> Any:
    """A MindSpore tensor on the memory of a numpy array (copied if it is not contiguous or not writable)."""
    flags = a.flags
    if not (flags.c_contiguous and flags.writeable):
        a = a.copy(order="C")
    x = MsTensor.from_numpy(a)
    # Kept for `memory`, which would build the same array again; checked there against the tensor's address, since
    # MindSpore may give the tensor other memory (set_data, a swap).
    x.__dict__["_np"] = (a, raw_address(x), None)
    return x


def is_meta(x: Any) -> bool:
    """Whether the tensor has shape and dtype but no values."""
    return "_meta" in getattr(x, "__dict__", ())


def records(*values: Any) -> bool:
    """Whether an operator on `values` becomes part of the autograd graph."""
    return any(isinstance(v, TensorPy) and v._requires_grad for v in values) and executor.enable_grad()


def write(x: Any, value: Any) -> None:
    """Overwrite the memory of `x` with `value` (a tensor of the same dtype, or a number), broadcasting."""
    if is_meta(x):
        return
    if ON_CPU:
        target = memory(x)
        if not target.flags.c_contiguous:
            _views.check_overlap(target.shape, target.strides)
        np.copyto(target, memory(value) if isinstance(value, TensorPy) else value, casting="unsafe")
        _views.touched(x)
    else:
        MsTensor.copy_(x, value)


def operand(x: Any, *others: Any) -> Any:
    """What an in-place operator on `x` shall compute from: `x`, or a copy if the graph may keep it while `x` changes."""  # noqa: E501
    if executor.enable_grad() and not x._requires_grad and records(*others):
        return x.clone()
    return x


_AT_ONCE = {
    name: getattr(real.Tensor, name)
    for name in (
        "add_", "sub_", "mul_", "div_", "neg_", "sqrt_", "rsqrt_", "reciprocal_", "lerp_", "addcmul_", "addcdiv_",
        "clamp_", "clamp_min_", "clamp_max_",
    )
}  # fmt: skip
"""What optimizers and averages of weights call for each parameter: PyTorch computes in the tensor's own memory."""


def at_once(name: str, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Run the in-place operator `name` in the memory of `x` if that says the same; whether it did.

    It does not where something records or a graph is captured, for tensors without values, and where an argument
    overlaps with `x` in part: there the result is computed first.
    """
    theirs = _AT_ONCE.get(name)
    if theirs is None or not ON_CPU or jit_state._jit_context is not None:
        return False
    tensors = [x, *(a for a in args if isinstance(a, TensorPy))]
    if any(is_meta(t) for t in tensors) or records(*tensors):
        return False
    if any(not isinstance(a, (TensorPy, int, float)) for a in (*args, *kwargs.values())):
        return False
    if any(isinstance(a, TensorPy) for a in kwargs.values()):
        return False
    mine = memory(x)
    for t in tensors[1:]:
        other = memory(t)
        if np.may_share_memory(mine, other) and (
            raw_address(x) != raw_address(t) or mine.strides != other.strides or mine.shape != other.shape
        ):
            return False
    with real.no_grad():
        theirs(to_shared(x), *(to_shared(a) if isinstance(a, TensorPy) else a for a in args), **kwargs)
    _views.touched(x)
    return True


def assign(x: Any, value: Any, adopt: bool = True) -> Any:
    """Store `value` into `x` and return `x`: the end of every in-place operator.

    With `adopt`, `value` was computed from `x` for this purpose alone, and a recorded write may use it up.
    Raises RuntimeError as torch does: for a leaf that requires a gradient, and when shapes do not fit.
    """
    if value is x:
        return x
    shape = tuple(raw_shape(x))
    if tuple(raw_shape(value)) != shape:
        try:
            fits = np.broadcast_shapes(tuple(raw_shape(value)), shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(
                f"output with shape {list(shape)} doesn't match the broadcast shape {list(raw_shape(value))}"
            )
    if raw_dtype(value) != raw_dtype(x):
        value = value.to(_dtypes.BY_MS[raw_dtype(x)])
    if jit_state._jit_context is not None and capturing():
        return _assign_captured(x, value)
    if records(x, value) and (x.dtype.is_floating_point or x.dtype.is_complex):
        _views.check_recorded(x)
        if tuple(raw_shape(value)) != shape:
            value = value.expand(shape)
        _views.store(x, value, adopt=adopt)
    else:
        write(x, value)
    return x


def _assign_captured(x: Any, value: Any) -> Any:
    """`assign` while a graph is captured: memory is written only if all of it are constants."""
    _capture.check_writable(x)
    if traced(x) or traced(value):
        _take_over(x, value if raw_shape(value) == raw_shape(x) else value.expand(tuple(raw_shape(x))))
    else:
        with aside():
            write(x, value)
    return x


def _take_over(x: Any, value: Any) -> None:
    """Make the object `x` the tensor `value` during a capture, and let the base of a view follow."""
    view = x.__dict__.get("_view")
    if view is not None:
        base, steps = view
        base_now = base()
        if base_now is not None and base_now is not x:
            with aside():
                positions = memory(steps(_index_tensor(base_now))).reshape(-1)
            flat = scatter_flat(base_now, positions, value)
            _take_over(base_now, flat)
            value = steps(base_now)
    if value.__dict__.get("_view") is not None or value._is_leaf:
        value = value * 1  # a tensor of its own, so that the swap does not disturb another holder
    _capture.become(x, value)
    if view is not None:
        x.__dict__["_view"] = view


def _index_tensor(x: Any) -> Any:
    shape = tuple(raw_shape(x))
    return _registry.wrap(from_numpy(np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)))


class _ScatterFlat(MsFunction):
    """A copy of x whose flat `positions` hold `value`."""

    @staticmethod
    def forward(ctx: Any, x: Any, positions: np.ndarray, value: Any) -> Any:
        out = np.array(memory(x), order="C")
        v = memory(value)
        out.reshape(-1)[positions] = np.broadcast_to(v, v.shape).reshape(-1) if v.size == positions.size else v
        ctx.positions, ctx.shapes = positions, (tuple(raw_shape(x)), tuple(raw_shape(value)))
        return from_numpy(out)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        g = np.array(memory(grad), order="C")
        taken = g.reshape(-1)[ctx.positions].reshape(ctx.shapes[1])
        g.reshape(-1)[ctx.positions] = 0
        return from_numpy(g), None, from_numpy(taken)


def scatter_flat(x: Any, positions: np.ndarray, value: Any) -> Any:
    """A copy of `x` with `value` (one element per position) at the flat `positions`; differentiable in both."""
    if capturing():
        return _scatter_captured(x, positions, value)
    return _registry.wrap(_ScatterFlat.apply(x, positions, value))


def _scatter_captured(x: Any, positions: np.ndarray, value: Any) -> Any:
    """`scatter_flat` in operators that a graph can hold: at each place, the element of `value` written there last."""
    shape, count = tuple(raw_shape(x)), int(np.prod(raw_shape(x)))
    source = np.zeros(count, np.int64)
    source[positions] = np.arange(positions.size)
    written = np.zeros(count, bool)
    written[positions] = True
    new = _capture.pick(value, source.reshape(shape) if value.numel() > 1 else np.zeros(shape, np.int64))
    return _registry.NAMESPACE["where"](_registry.wrap(from_numpy(written.reshape(shape))), new, x)


def mark_captured(result: Any, name: str, args: Any, kwargs: Any) -> None:
    """Remember, during a capture, by what operators `result` is a view, so that writes reach the base."""
    if not isinstance(args[0], TensorPy):
        return
    if name == "Tensor.__getitem__" and _picks(args[1]):
        return
    base, rest = args[0], args[1:]
    call = _registry.NAMESPACE[name].hf_ascend_impl  # type: ignore[attr-defined]

    if isinstance(result, (tuple, list)):
        for i, part in enumerate(result):
            _remember(part, base, lambda b, i=i: _registry.wrap(call(b, *rest, **kwargs))[i])
    elif result is not base:
        _remember(result, base, lambda b: _registry.wrap(call(b, *rest, **kwargs)))


def _picks(key: Any) -> bool:
    """Whether an index holds lists, arrays, booleans or tensors: it then gives a copy, not a view."""
    keys = key if isinstance(key, tuple) else (key,)
    return any(isinstance(k, (bool, list, np.ndarray, TensorPy)) for k in keys)


def _remember(part: Any, base: Any, step: Any) -> None:
    earlier = base.__dict__.get("_view")
    if earlier is not None and earlier[0]() is not None:
        root, before = earlier
        part.__dict__["_view"] = (root, lambda b: step(before(b)))
    else:
        part.__dict__["_view"] = (weakref.ref(base), step)


def become(x: Any, view: Any) -> Any:
    """Make `x` the view of it that a shape-changing in-place operator asks for, and return it."""
    if capturing():
        _capture.become(x, view)
        return x
    if executor.enable_grad():
        _views.check_recorded(x)
    replace_impl(x, view)
    x.__dict__.pop("_np", None)
    return x


_registry._assign, _registry._operand, _registry._become, _registry._at_once = assign, operand, become, at_once
_capture._mark_view = mark_captured
_views._memory, _views._from_numpy = memory, from_numpy
