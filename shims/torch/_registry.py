"""The operator registry: one decorator gives an operator its torch names and an implementation per device.

    @op("exp")                                  # torch.exp, Tensor.exp, and Tensor.exp_ from it
    def exp(input): ...                         # for every device

    @exp.on("cpu")                              # another one, for the CPU
    def _(input): ...

A target is a dotted place below `torch`: "mul", "Tensor.__mul__", "_C._nn.gelu", "linalg.norm". A plain
name also becomes a Tensor method when torch.Tensor has one of that name, and likewise the in-place
method. Implementations take and return MindSpore tensors with torch's parameter names; the wrapper made
here gives results the stand-in's Tensor class, understands `out=`, `axis=` and `keepdims=`, and sends a
call that the device cannot run to the torch CPU fallback (`_fallback`), where it is counted.

What torch has and nobody registered is a fallback too, made on first use by `lookup`.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch as real

from . import _autocast, _capture, _fallback, _meta, _nodes
from ._device import _stack
from ._grad_mode import ensure_recording
from ._ms import DEVICE, ON_CPU, CaptureError, MsTensor, capturing, jit_state, mint

_SHAPE_CHANGING = {"unsqueeze_", "squeeze_", "transpose_", "t_", "swapaxes_", "swapdims_"}
"""In-place operators after which the tensor is another view of its memory."""

REGISTRY: dict[str, "Op"] = {}
NAMESPACE: dict[str, Callable[..., Any]] = {}
"""Dotted torch name -> the callable, filled by `op`; `Tensor.x` are the methods."""

_MISSING_KERNEL = (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError)
_tensor_class: Any = None
_assign: Any = None  # bound by _inplace, which needs this module
_operand: Any = None
_become: Any = None
_at_once: Any = None


class Op:
    """An operator: its torch names, and implementations by device ("any", "cpu", "npu")."""

    def __init__(self, targets: tuple[str, ...], fn: Callable[..., Any], device: str, view: bool):
        self.targets, self.impls, self.view = targets, {device: fn}, view
        self.name = next((t for t in targets if _real(t) is not None), targets[0])

    def on(self, device: str) -> Callable[[Callable[..., Any]], "Op"]:
        """Register an implementation for "cpu" or "npu" alone."""

        def register(fn: Callable[..., Any]) -> "Op":
            self.impls[device] = fn
            _publish(self)
            return self

        return register

    @property
    def impl(self) -> Callable[..., Any]:
        """The implementation in force on this process's device."""
        found = self.impls.get(DEVICE.type, self.impls.get("any"))
        return found if found is not None else functools.partial(_fallback.run, self.name, _real(self.name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return NAMESPACE[self.name](*args, **kwargs)


def op(*targets: str, device: str = "any", view: bool = False) -> Callable[[Callable[..., Any]], Op]:
    """Register the decorated function for `targets`. `view` says that results share memory with the first argument."""

    def register(fn: Callable[..., Any]) -> Op:
        made = Op(targets, fn, device, view)
        _publish(made)
        return made

    return register


def wrap(value: Any) -> Any:
    """Give MindSpore tensors in `value` (also inside tuples and lists) the stand-in's class."""
    if value.__class__ is MsTensor:
        value.__class__ = _tensor_class
    elif isinstance(value, (tuple, list)):
        for v in value:
            wrap(v)
    return value


def _real(name: str) -> Callable[..., Any] | None:
    """PyTorch's function of that dotted name. Of a plain name that is a method too, either form: x.view(2, 3)."""
    found: Any = None
    for path in (name, f"_C._nn.{name}", f"nn.functional.{name}"):
        found = real
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            break
    method = getattr(real.Tensor, name, None)
    if found is None or method is None or not callable(method):
        return found

    def either(*args: Any, **kwargs: Any) -> Any:
        try:
            return found(*args, **kwargs)
        except TypeError:
            return method(*args, **kwargs)

    return either


def _clean(kwargs: dict[str, Any]) -> None:
    """torch accepts numpy's spelling of two parameters."""
    if "axis" in kwargs:
        kwargs["dim"] = kwargs.pop("axis")
    if "keepdims" in kwargs:
        kwargs["keepdim"] = kwargs.pop("keepdims")


def callable_for(name: str, fn: Callable[..., Any], view: bool = False) -> Callable[..., Any]:
    """The public callable around an implementation."""
    infers, public = not _meta.knows(name), fn
    fn = _nodes.node(name, fn)
    casts = _autocast.policy(name) is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        if casts and _autocast.on:
            return _autocast.run(name, call, args, kwargs)
        if jit_state._jit_context is not None and capturing():
            return _capture.run(name, call, fn, view, args, kwargs)
        out = None
        if kwargs:
            _clean(kwargs)
            out = kwargs.pop("out", None)
            if "self" in kwargs:
                args = (kwargs.pop("self"), *args)
        try:
            if (
                infers
                and (_stack or args and "_meta" in getattr(args[0], "__dict__", ()))
                and _meta.among(args, kwargs)
            ):
                result = _meta.run(name, _real(name), args, kwargs)
            else:
                result = fn(*args, **kwargs)
        except _MISSING_KERNEL as error:
            ensure_recording()  # an error inside MindSpore switches its recording off
            result = _recover(name, error, args, kwargs)
        if result.__class__ is MsTensor:
            result.__class__ = _tensor_class
        elif result.__class__ is not _tensor_class:
            wrap(result)
        if view:
            _mark_view(result, name, args, kwargs)
        return result if out is None else _store(out, result)

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    call.__doc__ = fn.__doc__ or f"torch.{name}: see PyTorch's documentation."
    call.hf_ascend_impl = public  # type: ignore[attr-defined]
    return call


def _store(out: Any, result: Any) -> Any:
    for o, r in zip(out, result, strict=True) if isinstance(out, (tuple, list)) else ((out, result),):
        if not real.can_cast(_fallback._TO_REAL[r.dtype.name], _fallback._TO_REAL[o.dtype.name]):
            raise RuntimeError(f"result type {r.dtype} can't be cast to the desired output type {o.dtype}")
    if isinstance(out, (tuple, list)):
        return (
            type(result)(*(_assign(o, r) for o, r in zip(out, result, strict=True)))
            if hasattr(result, "_fields")
            else tuple(_assign(o, r) for o, r in zip(out, result, strict=True))
        )
    return _assign(out, result)


def _recover(name: str, error: Exception, args: Any, kwargs: Any) -> Any:
    """Run a failed call through PyTorch: for a kernel MindSpore lacks, or for torch's error on bad arguments."""
    fn = _real(name)
    if not ON_CPU or fn is None or isinstance(error, CaptureError):
        raise error
    lines = str(error).strip().splitlines()
    return _fallback.run(name, fn, *args, reason=lines[0] if lines else type(error).__name__, **kwargs)


_mark_view: Callable[..., None] = lambda *a: None  # noqa: E731  (bound by _inplace, which needs this module)
_capture._wrap = _autocast._wrap = wrap
_autocast._operators, _autocast._theirs = NAMESPACE, _real


def _publish(o: Op) -> None:
    call = callable_for(o.name, o.impl, o.view)
    for target in o.targets:
        REGISTRY[target] = o
        NAMESPACE[target] = call
        if "." not in target:
            if callable(getattr(real.Tensor, target, None)):  # x.real is an attribute, not a method
                _publish_method(target, call)
            if hasattr(real.Tensor, target + "_"):
                in_place = make_inplace(target + "_", call)
                _publish_method(target + "_", in_place)
                NAMESPACE[target + "_"] = in_place
        elif target.startswith("Tensor."):
            _publish_method(target.removeprefix("Tensor."), call)
            if hasattr(real.Tensor, target.removeprefix("Tensor.") + "_"):
                _publish_method(target.removeprefix("Tensor.") + "_", make_inplace(o.name + "_", call))


def _publish_method(name: str, call: Callable[..., Any]) -> None:
    NAMESPACE["Tensor." + name] = call
    if _tensor_class is not None and name not in _tensor_class.OWN:
        setattr(_tensor_class, name, call)


def make_inplace(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The in-place variant of an operator: compute, then store into the first argument."""
    call, short = _autocast.uncast(name.removesuffix("_"), call), name.removeprefix("Tensor.")

    def in_place(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _at_once(short, self, args, kwargs):
            return self
        return _assign(self, call(_operand(self, *args, *kwargs.values()), *args, **kwargs))

    def become(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _become(self, call(self, *args, **kwargs))

    if short in _SHAPE_CHANGING:
        in_place = become

    in_place.__name__ = in_place.__qualname__ = name
    in_place.hf_ascend_impl = call  # type: ignore[attr-defined]
    return in_place


def attach(tensor_class: Any) -> None:
    """Give the Tensor class all methods registered so far; later ones are added as they come."""
    global _tensor_class
    _tensor_class = tensor_class
    for name, call in NAMESPACE.items():
        if name.startswith("Tensor.") and name[7:] not in tensor_class.OWN:
            setattr(tensor_class, name[7:], call)
    for name in dir(real.Tensor):
        theirs = not name.startswith("_") and callable(getattr(real.Tensor, name)) and name not in vars(tensor_class)
        if theirs and hasattr(MsTensor, name) and name not in _SAME_IN_MINDSPORE:
            setattr(tensor_class, name, _late_method(name))


_SAME_IN_MINDSPORE = ("data_ptr", "storage_offset")


def _late_method(name: str) -> Callable[..., Any]:
    """torch's method in place of MindSpore's of the same name, whose parameters and meaning may differ."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return lookup("Tensor." + name)(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.hf_ascend_deferred = "Tensor." + name  # type: ignore[attr-defined]
    return method


def _mint_function(name: str) -> Callable[..., Any] | None:
    """The function of that name in `mindspore.mint`, which mirrors torch's API on Ascend."""
    found: Any = mint
    for part in name.removeprefix("Tensor.").replace("_C._nn", "nn.functional").split("."):
        found = getattr(found, part, None)
    return found


def lookup(name: str) -> Callable[..., Any]:
    """The callable for a dotted torch name: registered, or a fallback to torch's own operator of that name.

    Raises AttributeError when torch has no function there.
    """
    found = NAMESPACE.get(name)
    if found is not None:
        return found
    fn = _real(name)
    short = name.rpartition(".")[2]
    if fn is None or not callable(fn) or isinstance(fn, type):
        raise AttributeError(f"module 'torch' has no attribute {name!r}")
    if not ON_CPU and (mirror := _mint_function(name)) is not None:
        NAMESPACE[name] = callable_for(name, mirror)
        return NAMESPACE[name]
    if not ON_CPU:
        raise AttributeError(
            f"torch.{name} has no implementation on Ascend yet; register one with @op({name!r}), see CONTRIBUTING.md"
        )
    if short.endswith("_") and not short.endswith("__"):
        base = name.rstrip("_")
        if _real(base) is not None or base in NAMESPACE:
            call = make_inplace(name, lookup(base))
            NAMESPACE[name] = call
            return call
    call = callable_for(name, functools.partial(_fallback.run, name, fn))
    NAMESPACE[name] = call
    return call
