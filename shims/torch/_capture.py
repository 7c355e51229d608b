"""Operators while mindspore.jit(capture_mode="trace") records a graph.

The recorder follows MindSpore's operators, from tensor to tensor. It does not see numpy, PyTorch, in-place writes to
memory, or MindSpore's views. So, while it records:

* an operator on constants only (new tensors, buffers, anything no input or parameter flows into) runs `aside`, as it
  always does, and its result is a constant of the graph;
* an operator on a traced tensor takes its MindSpore form, since `host()` says no; what has none is refused;
* storing into a tensor makes the Python object another tensor, as under autograd. Tensors that outlive the graph (its
  inputs, parameters, buffers) cannot be stored into: the graph would do so once, not at each run;
* a result that escaped the recorder is found and refused, never taken for a constant.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ._ms import (
    CaptureError,
    MsParameter,
    MsTensor,
    TensorPy,
    abandon_capture,
    aside,
    capturing,
    gen,
    jit_state,
    keep_tuples,
    mint,
    ms,
    ops,
    raw_shape,
    refuse,
    replace_impl,
    traced,
)

from_numpy = MsTensor.from_numpy

_wrap: Any = None  # bound by _registry, which needs this module
_mark_view: Any = None

_SHAPES_ONLY = ("zeros", "ones", "empty", "full", "Tensor.new_")
"""Beginnings of names of operators that ask a tensor for its shape and dtype alone."""


_WRITING = frozenset(
    ["__setitem__"]
    + [f"__i{n}__" for n in "add sub mul truediv floordiv mod pow and or xor matmul lshift rshift".split()]
)


def tensors_in(values: Any) -> Iterator[Any]:
    """All tensors among arguments or results, inside sequences, dictionaries and slices too."""
    for v in values:
        if isinstance(v, TensorPy):
            yield v
        elif isinstance(v, (tuple, list)):
            yield from tensors_in(v)
        elif isinstance(v, dict):
            yield from tensors_in(v.values())
        elif isinstance(v, slice):
            yield from tensors_in((v.start, v.stop, v.step))


def fresh(x: Any) -> bool:
    """Whether `x` is a constant made during this capture, so that writing to it harms nobody."""
    return x.__dict__.get("_fresh", x) is jit_state._jit_context._phase


def _in_place(name: str) -> bool:
    short = name.removeprefix("Tensor.")
    return short in _WRITING or (short.endswith("_") and not short.endswith("__"))


def run(name: str, eager: Callable[..., Any], fn: Callable[..., Any], view: bool, args: Any, kwargs: Any) -> Any:
    """Operator `name` during a capture: `eager` is the whole call, `fn` its implementation.

    Raises CaptureError for what the graph cannot hold.
    """
    keep_tuples()
    if "self" in kwargs:
        args = (kwargs.pop("self"), *args)
    given = list(tensors_in((*args, kwargs)))
    asked = given[1:] if name.startswith(_SHAPES_ONLY) else given
    if not any(traced(t) for t in asked):
        if _in_place(name):
            check_writable(args[0])
        elif kwargs.get("out") is not None:
            check_writable(kwargs["out"])
        with aside():
            result = eager(*args, **kwargs)
        _make_constant(result, given)
    else:
        result = _recorded(name, fn, given, args, kwargs)
    if view:
        _mark_view(result, name, args, kwargs)
    return result


def _check_no_gradient() -> None:
    """Raise CaptureError inside a mindspore.value_and_grad (or grad) that the captured function itself calls."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "jit_trace_wrap":
        if frame.f_code.co_name == "_pynative_func_grad_forward":
            refuse(
                "mindspore.value_and_grad inside a captured function is not recorded: its gradients would be those of "
                "this run. Take the gradient of the captured function instead: value_and_grad(jit(f))"
            )
        frame = frame.f_back  # type: ignore[assignment]


def _recorded(name: str, fn: Callable[..., Any], given: list[Any], args: Any, kwargs: Any) -> Any:
    from . import _registry

    _check_no_gradient()
    _registry._clean(kwargs)
    out = kwargs.pop("out", None)
    try:
        result = _wrap(fn(*args, **kwargs))
    except CaptureError as error:
        if not str(error).startswith("torch."):
            error.args = (f"torch.{name} cannot be captured: {error}",)
        raise
    except (IndexError, AttributeError):
        raise  # wrong arguments, or a mistake in the model
    except Exception as error:
        lines = str(error).strip().splitlines()
        refuse(f"torch.{name} cannot be captured: {lines[0] if lines else type(error).__name__}")
    for t in tensors_in((result,)):
        known = "_np" in t.__dict__ or t.__dict__.get("_constant") is jit_state._jit_context._phase
        if not known and not any(t is g for g in given) and not traced(t):
            refuse(
                f"torch.{name} cannot be captured: its result, of shape {tuple(raw_shape(t))}, escaped MindSpore's "
                "recorder and would be a constant of the graph"
            )
    return result if out is None else _registry._store(out, result)


def _make_constant(result: Any, given: list[Any]) -> None:
    """Take off the nodes that MindSpore gave to results of constants; note which are new, so that one may write."""
    session = jit_state._jit_context._phase
    shared = any(not fresh(t) for t in given)
    for t in tensors_in((result,)):
        if any(t is g for g in given):
            continue
        if "_np" not in t.__dict__ and traced(t):
            with aside():  # the same memory again, by a view that the recorder does not see
                shape = raw_shape(t)
                replace_impl(t, mint.narrow(t, 0, 0, shape[0]) if shape else gen.view(t, shape))
        t.__dict__["_constant"] = session
        if not shared or "_np" in t.__dict__:
            t.__dict__["_fresh"] = session


def check_writable(x: Any) -> None:
    """Raise CaptureError for a tensor that outlives the graph: a parameter, an input, a constant from outside."""
    if isinstance(x, MsParameter):
        what = "a parameter"
    elif any(x is a for a in tensors_in(jit_state._jit_context._args or ())):
        what = "an input"
    elif not traced(x) and not fresh(x):
        what = "a tensor that is neither an input nor made in the captured function (a buffer?)"
    else:
        return
    refuse(
        f"an in-place operation on {what} of shape {tuple(raw_shape(x))} cannot be captured: it would happen once, not "
        "at each run of the graph. Give the function a clone of it, and return the new value"
    )


def become(x: Any, value: Any) -> None:
    """Make the Python object `x` the tensor `value`: the end of an in-place operation during a capture."""
    check_writable(x)
    replace_impl(x, value)
    x.__dict__.pop("_fresh", None)
    x.__dict__.pop("_constant", None)


_inside = [0]


def outermost(call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """A module's call during a capture. When the outermost one fails, the capture has failed, and is ended."""
    if not capturing():
        return call(*args, **kwargs)
    _inside[0] += 1
    try:
        return call(*args, **kwargs)
    except BaseException as error:
        if _inside[0] == 1 and capturing():
            abandon_capture(error)
        raise
    finally:
        _inside[0] -= 1


def check_bound(kwargs: dict[str, Any]) -> None:
    """Raise CaptureError for tensors in a captured module's `**kwargs`: mindspore.jit leaves them out of the graph."""
    for name, value in kwargs.items():
        if any(not traced(t) for t in tensors_in((value,))):
            refuse(
                f"the argument {name} of the captured module is not among its forward's named parameters, and "
                "mindspore.jit would make it a constant. Capture a function of your own that takes it"
            )


def plain(output: Any) -> Any:
    """A module's output as mindspore.jit can return it: dictionaries, tuples, tensors, numbers.

    Raises CaptureError for other objects, such as a cache.
    """
    if isinstance(output, dict):
        return {k: plain(v) for k, v in output.items()}
    if isinstance(output, (tuple, list)):
        return tuple(plain(v) for v in output)
    if not (output is None or isinstance(output, (TensorPy, bool, int, float, str))):
        refuse(
            f"a captured module returns a {type(output).__name__}, which is no tensor. Capture a function that returns "
            "what you need of it (for a cache: use_cache=False, or its tensors)"
        )
    return output


def pick(x: Any, positions: Any) -> Any:
    """The elements of `x` at flat `positions`, a constant, whose shape they get."""
    return _wrap(ops.gather(ops.reshape(x, (-1,)), from_numpy(np.ascontiguousarray(positions, np.int64)), 0))


def cut(x: Any, keys: tuple) -> Any:
    """`x[keys]` for numbers, slices, None and `...`: one strided slice, one reshape, each only where it changes x."""
    shape = tuple(raw_shape(x))
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    used = len(keys) - (Ellipsis in keys) - keys.count(None)
    keys = (*keys[:at], *(slice(None),) * (len(shape) - used), *keys[at + 1 :])
    ranges, final = [], []
    for k in keys:
        if k is None:
            final.append(1)
            continue
        size = shape[len(ranges)]
        span = range(size)[k] if isinstance(k, slice) else range(k % size, k % size + 1)
        ranges.append(span)
        if isinstance(k, slice):
            final.append(len(span))
    if any(r != range(n) for r, n in zip(ranges, shape, strict=True)):
        begin, end, step = (tuple(getattr(r, n) for r in ranges) for n in ("start", "stop", "step"))
        x = ops.strided_slice(x, begin, end, step)
    return ops.reshape(x, tuple(final)) if tuple(raw_shape(x)) != tuple(final) else x


def take(x: Any, keys: tuple) -> Any:
    """`x[keys]`, for keys with tensors in them, as gathers."""
    from ._ops import indexing

    if not any(isinstance(k, TensorPy) and traced(k) for k in keys):
        key = indexing._to_numpy_key(keys)
        arrays = [k for k in key if hasattr(k, "ndim")]
        d = len(key) - 1
        if len(arrays) == 1 and hasattr(key[-1], "ndim") and key[-1].dtype != bool and key[:-1] == (slice(None),) * d:
            rows = key[-1].astype(np.int64)
            return ops.gather(x, from_numpy(np.where(rows < 0, rows + raw_shape(x)[d], rows)), d)
        return pick(x, np.arange(x.numel()).reshape(tuple(raw_shape(x)))[key])
    d, rows, width = _rows(x, keys)
    shape = tuple(raw_shape(x))
    return ops.gather(ops.reshape(x, (*shape[:d], -1, *shape[d + width :])), rows, d)


def _rows(x: Any, keys: tuple) -> tuple[int, Any, int]:
    """(d, rows, width): `keys` are whole dimensions, then integers for `width` dimensions from `d` on, flat `rows`."""
    shape = tuple(raw_shape(x))
    if Ellipsis in [k for k in keys if not isinstance(k, TensorPy)]:
        refuse("indexing by `...` together with tensors whose values differ from run to run")
    d = 0
    while isinstance(keys[d], slice) and keys[d] == slice(None):
        d += 1
    chosen = list(keys[d:])
    while chosen and isinstance(chosen[-1], slice) and chosen[-1] == slice(None):
        chosen.pop()
    rows: Any = None
    for i, k in enumerate(chosen):
        if isinstance(k, TensorPy) and k.dtype.name == "bool":
            refuse("how many elements a mask selects differs from run to run, and so does the shape")
        if not isinstance(k, (TensorPy, int, np.integer)):
            refuse("indexing by slices together with tensors whose values differ from run to run")
        size = shape[d + i]
        at = k if isinstance(k, TensorPy) else _wrap(from_numpy(np.asarray(int(k), np.int64)))
        at = _wrap(at.long() + size * (at < 0).long())
        rows = at if rows is None else rows * size + at
    return d, rows, len(chosen)


def put(x: Any, keys: tuple, value: Any) -> Any:
    """A copy of `x` with x[keys] = value, for keys that differ from run to run: a mask, or integers."""
    shape = tuple(raw_shape(x))
    if len(keys) == 1 and keys[0].dtype.name == "bool":
        mask, rest = keys[0], len(shape) - len(raw_shape(keys[0]))
        if len(raw_shape(value)) > rest and value.numel() > 1:
            refuse("storing as many elements as a mask selects, which differs from run to run")
        where = mask.reshape(*raw_shape(mask), *(1,) * rest)
        return _registry_where(where, value.reshape(()) if value.numel() == 1 else value, x)
    d, rows, width = _rows(x, keys)
    flat = ops.reshape(x, (*shape[:d], -1, *shape[d + width :]))
    count = raw_shape(flat)[d]
    wanted = (*shape[:d], *raw_shape(rows), *shape[d + width :])
    source = _wrap(value).expand(wanted).reshape(*shape[:d], -1, *shape[d + width :])
    # hits[i, j]: row i is written by element j; the last such element counts.
    hits = _wrap(from_numpy(np.arange(count)[:, None])) == _wrap(rows).reshape(1, -1)
    n = raw_shape(hits)[1]
    last = (hits.float() * _wrap(from_numpy(np.arange(1, n + 1, dtype=np.float32)))).amax(1)
    new = _wrap(ops.gather(source, (last - 1).clamp(min=0).long(), d))
    written = (last > 0).reshape(-1, *(1,) * (len(shape) - d - width))
    return _registry_where(written, new, _wrap(flat)).reshape(shape)


def add_at(x: Any, keys: tuple, value: Any) -> Any:
    """A copy of `x` with x[keys] += value, where repeated places add up."""
    shape = tuple(raw_shape(x))
    d, rows, width = _rows(x, keys)
    if d:
        order = (*range(d, d + width), *range(d), *range(d + width, len(shape)))
        back = tuple(order.index(i) for i in range(len(shape)))
        moved = _wrap(ops.transpose(x, order))
        n = len(raw_shape(rows))
        ranks = range(len(raw_shape(value)))
        values = _wrap(ops.transpose(value, (*range(d, d + n), *range(d), *(r for r in ranks if r >= d + n))))
        return _wrap(ops.transpose(add_at(moved, keys[d : d + width], values), back))
    flat = ops.reshape(x, (-1, *shape[width:]))
    value = _wrap(value).expand((*raw_shape(rows), *shape[width:])).reshape(-1, *shape[width:])
    out = ops.tensor_scatter_add(flat, _wrap(rows).reshape(-1, 1), value)
    return ops.reshape(out, shape)


def order(x: Any, d: int, descending: bool) -> tuple[Any, Any]:
    """(values, int64 indices) of `x` sorted along `d`. Equal elements keep their order only when it ascends."""
    last = len(raw_shape(x)) - 1
    values, index = ops.Sort(last, descending)(_wrap(x).transpose(d, last))
    return tuple(_wrap(t).transpose(d, last) for t in (values, ops.cast(index, ms.int64)))  # type: ignore[return-value]


def _registry_where(condition: Any, x: Any, y: Any) -> Any:
    from ._registry import NAMESPACE

    return NAMESPACE["where"](condition, x, y)
