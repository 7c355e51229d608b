"""The net below everything: PyTorch's own CPU operator, on shared memory, with its gradient.

Tensors cross over by DLPack without a copy. When a gradient will be wanted, the call is one node of
MindSpore's graph whose backward asks PyTorch's autograd. Each call is counted (`runtime.fallbacks()`).
"""

import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch as real

from hf_ascend.runtime import counters

from . import _dtypes
from ._ms import (
    ON_CPU,
    MsFunction,
    MsTensor,
    TensorPy,
    executor,
    raw_address,
    raw_dtype,
    raw_requires_grad,
    raw_shape,
    refuse_capture,
)

_TO_REAL = {d.name: getattr(real, d.name) for d in (*_dtypes.ALL, *_dtypes.ABSENT.values()) if hasattr(real, d.name)}


_to_shared: Any = None  # bound by _inplace, which needs this module


def to_real(x: Any) -> real.Tensor:
    """A new PyTorch tensor on the memory of a MindSpore tensor (on a copy of it for the types in `_COPIED`)."""
    refuse_capture(x)
    kind, shape = raw_dtype(x), raw_shape(x)
    if 0 in shape:
        return real.empty(tuple(shape), dtype=_TO_REAL[_dtypes.BY_MS[kind].name])
    if id(kind) in _COPIED:
        return real.from_numpy(MsTensor.data.__get__(x).asnumpy().copy()).reshape(tuple(shape))
    return _to_shared(x)


_COPIED = {
    id(d.ms)
    for d in (
        _dtypes.bool, _dtypes.complex64, _dtypes.complex128, _dtypes.uint16, _dtypes.uint32, _dtypes.uint64,
    )
}  # fmt: skip
"""By identity, since hashing a type of MindSpore costs more than the rest."""
_BF16 = _dtypes.bfloat16.ms
_STRIDED = {real.float16, real.bfloat16, real.float32, real.float64, real.int32, real.int64}
"""What DLPack hands to MindSpore with its strides."""


def from_real(t: real.Tensor) -> Any:
    """The MindSpore tensor on the memory of a PyTorch tensor, with its strides if it fills its memory."""
    t = t.detach()
    if t.layout is not real.strided:
        raise NotImplementedError(f"a tensor of layout {t.layout} has no MindSpore counterpart; call .to_dense() first")
    t = t.cpu().resolve_conj().resolve_neg()
    strided = not t.is_contiguous()
    if strided and (t.dtype not in _STRIDED or t.untyped_storage().nbytes() != t.numel() * t.itemsize):
        t, strided = t.contiguous(), False
    if t.dtype is real.bfloat16:
        if t.numel() == 0 or t.dim() == 0:
            return MsTensor.from_numpy(t.float().numpy()).astype(_BF16)
        return MsTensor.from_dlpack(real.utils.dlpack.to_dlpack(t))
    array = t.numpy()
    x = MsTensor.from_dlpack(real.utils.dlpack.to_dlpack(t)) if strided else MsTensor.from_numpy(array)
    x.__dict__["_np"] = (array, raw_address(x))  # what `_inplace.memory` would build
    return x


def _is_ms(x: Any) -> bool:
    return isinstance(x, TensorPy)


def _convert(x: Any, tensors: list[Any]) -> Any:
    """`x` for PyTorch; MindSpore tensors are appended to `tensors` and become placeholders."""
    if _is_ms(x):
        tensors.append(x)
        return _Slot(len(tensors) - 1)
    if isinstance(x, _dtypes.dtype):
        return _TO_REAL[x.name]
    if type(x).__module__.startswith("hf_ascend.torch"):
        if type(x).__name__ == "device":
            return real.device("cpu")
        if type(x).__name__ == "Size":
            return tuple(x)
        if type(x).__name__ == "Generator":
            return x.real
    if isinstance(x, (list, tuple)):
        made = [_convert(v, tensors) for v in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    if isinstance(x, dict):
        return {k: _convert(v, tensors) for k, v in x.items()}
    return x


class _Slot:
    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index


def _fill(x: Any, tensors: list[real.Tensor]) -> Any:
    if isinstance(x, _Slot):
        return tensors[x.index]
    if isinstance(x, (list, tuple)):
        return (
            type(x)(_fill(v, tensors) for v in x)
            if not hasattr(x, "_fields")
            else type(x)(*(_fill(v, tensors) for v in x))
        )
    if isinstance(x, dict):
        return {k: _fill(v, tensors) for k, v in x.items()}
    return x


def _flatten(x: Any, out: list[real.Tensor]) -> Any:
    """Collects the PyTorch tensors of a result; returns its structure with slots."""
    if isinstance(x, real.Tensor):
        out.append(x)
        return _Slot(len(out) - 1)
    if isinstance(x, (list, tuple)):
        made = [_flatten(v, out) for v in x]
        if hasattr(x, "_fields") or hasattr(type(x), "n_fields"):
            return _named(x, made)
        return type(x)(made)
    if isinstance(x, dict):
        return {k: _flatten(v, out) for k, v in x.items()}
    if isinstance(x, real.dtype):
        return _dtypes.as_dtype(x)
    return x


def _named(x: Any, made: list[Any]) -> Any:
    import collections

    fields = getattr(x, "_fields", None) or [
        n
        for n in dir(type(x))
        if not n.startswith("_") and n not in ("count", "index", "n_fields", "n_sequence_fields", "n_unnamed_fields")
    ]
    by_id = {id(v): m for v, m in zip(x, made, strict=True)}
    order = sorted(fields, key=lambda f: [id(v) for v in x].index(id(getattr(x, f))))
    return collections.namedtuple(type(x).__name__, order)(*(by_id[id(v)] for v in x))


def _differentiable(x: real.Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


keeping = True
"""Whether the backward pass in progress keeps its graph; `_autograd` says when it need not."""
creating = False
"""Whether the backward pass in progress is recorded itself (create_graph)."""
accumulating = False
"""Whether it adds to the leaves' `.grad`."""
accumulates_here: Any = None  # bound by _autograd, as the next
accumulate: Any = None
_TWICE = "Trying to backward through the graph a second time. Specify retain_graph=True if you need to."


class Call:
    """A call of PyTorch's `fn`: its arguments with slots for the tensors, and the structure of its result.

    One object of few parts: garbage collection visits whatever a step's graph holds.
    """

    __slots__ = ("args", "fn", "kwargs", "made", "nested", "structure")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Any]):
        self.fn, self.args, self.kwargs = fn, _convert(args, tensors), kwargs and _convert(kwargs, tensors)
        self.nested = bool(kwargs) or any(isinstance(a, (list, tuple, dict)) for a in self.args)
        self.structure: Any = None
        self.made: list[Any] | None = None
        """Weak references to the results, once they are there, and their versions then."""

    def __call__(self, reals: list[real.Tensor]) -> list[real.Tensor]:
        """The tensors of the result for these arguments."""
        if self.nested:
            out = self.fn(*_fill(self.args, reals), **_fill(self.kwargs, reals))
        else:
            out = self.fn(*[reals[a.index] if a.__class__ is _Slot else a for a in self.args])
        if out.__class__ is real.Tensor:
            self.structure = _ONLY
            return [out]
        flat: list[real.Tensor] = []
        self.structure = _flatten(out, flat)
        return flat


_ONLY = _Slot(0)
_engine = real.autograd.Variable._execution_engine


class TorchCall(MsFunction):
    """One PyTorch call as a node of MindSpore's autograd graph; its gradient is PyTorch's, of any order."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Any) -> Any:
        leaves, wanted = [to_real(t) for t in tensors], []
        for i, t in enumerate(tensors):
            if raw_requires_grad(t) and _differentiable(leaves[i]):
                leaves[i].requires_grad_()
                wanted.append(i)
        with real.enable_grad():
            flat = call(leaves)
        ctx.call, ctx.leaves, ctx.wanted, ctx.flat = call, leaves, wanted, flat
        ctx.save_for_backward(*tensors)
        # Arguments and results know this node, if only after a write in place: strong references would keep all alive.
        ctx.given, ctx.versions = [weakref.ref(t) for t in tensors], [t._version for t in tensors]
        results = tuple([from_real(t) for t in flat])
        if not all(t.requires_grad for t in flat):
            ctx.mark_non_differentiable(*[r for r, t in zip(results, flat, strict=True) if not t.requires_grad])
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if ctx.leaves is None:
            raise RuntimeError(_TWICE)
        made, versions = ctx.call.made
        _note_writes(ctx.given, ctx.versions, ctx.leaves)
        _note_writes(made, versions, ctx.flat)
        out: list[Any] = [None] * (len(ctx.leaves) + 1)
        pairs = [(i, g) for i, g in enumerate(grads) if g is not None and ctx.flat[i].requires_grad]
        if not pairs or not ctx.wanted:
            return tuple(out)
        if creating:
            for i, g in zip(ctx.wanted, _recorded_gradients(ctx, pairs), strict=True):
                out[i + 1] = g
            return tuple(out)
        results = tuple([ctx.flat[i] for i, _ in pairs])
        seeds = tuple([to_real(g).to(r.dtype) for r, (_, g) in zip(results, pairs, strict=True)])
        inputs = tuple([ctx.leaves[i] for i in ctx.wanted])
        # torch.autograd.grad's last line; its checks of what is right here by construction cost a fifth of a node.
        found = _engine.run_backward(
            results, seeds, keeping, False, inputs, allow_unreachable=True, accumulate_grad=False
        )
        for i, g in zip(ctx.wanted, found, strict=True):
            if g is None:
                continue
            argument = ctx.given[i]() if accumulating else None
            if argument is not None and accumulates_here(argument):
                shares = [_memory_of(t) for t in (*seeds, *found) if t is not None].count(_memory_of(g))
                accumulate(argument, g, shares == 1)
            else:
                out[i + 1] = from_real(g)
        if not keeping:
            ctx.leaves = ctx.flat = ctx.given = None
        return tuple(out)


def _note_writes(known: list[Any], versions: list[int], reals: list[real.Tensor]) -> None:
    """Tell PyTorch what was overwritten since: it complains if it needs the values."""
    for reference, version, t in zip(known, versions, reals, strict=True):
        if (now := reference()) is not None and now._version != version:
            real.autograd.graph.increment_version(t)


def _memory_of(t: real.Tensor) -> int:
    return t.untyped_storage().data_ptr()


def _apply(call: Call, tensors: Any) -> tuple[Any, ...]:
    results = TorchCall.apply(call, *tensors)
    results = results if isinstance(results, tuple) else (results,)
    call.made = [weakref.ref(r) for r in results], [r._version for r in results]
    return results


def _recorded_gradients(ctx: Any, pairs: list[tuple[int, Any]]) -> list[Any]:
    """The gradients as the results of a node of their own, which computes the call once more."""
    n, wanted, call = len(ctx.given), ctx.wanted, ctx.call
    used: list[int] = []

    def gradients(*reals: real.Tensor) -> Any:
        inputs = [t if t.requires_grad else t.detach().requires_grad_(i in wanted) for i, t in enumerate(reals[:n])]
        flat = call(inputs)
        results = [flat[i] for i, _ in pairs]
        found = real.autograd.grad(
            results, [inputs[i] for i in wanted], [g.to(r.dtype) for r, g in zip(results, reals[n:], strict=True)],
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        used[:] = [i for i, g in enumerate(found) if g is not None]
        return tuple(found[i] for i in used)

    tensors: list[Any] = []
    again = Call(gradients, (*ctx.saved_tensors, *(g for _, g in pairs)), {}, tensors)
    made: list[Any] = [None] * len(wanted)
    for i, g in zip(used, _apply(again, tensors), strict=True):
        made[i] = g
    return made


def _caller() -> str:
    """The first frame outside the stand-in, for messages."""
    frame = sys._getframe(1)
    while frame is not None and "/shims/torch/" in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    return f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def compute(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """PyTorch's `fn` on the memory of MindSpore tensors: MindSpore tensors, with its gradient as one node."""
    tensors: list[Any] = []
    call = Call(fn, args, kwargs, tensors)
    if executor.enable_grad() and any(map(raw_requires_grad, tensors)):
        made: Any = _apply(call, tensors)
    else:
        with real.no_grad():
            made = [from_real(t) for t in call([to_real(t) for t in tensors])]
    return made[0] if call.structure is _ONLY else _fill(call.structure, list(made))


def run(name: str, fn: Callable[..., Any], /, *args: Any, reason: str = "not registered", **kwargs: Any) -> Any:
    """Run PyTorch's `fn` on MindSpore tensors and return MindSpore tensors; counted."""
    if not ON_CPU:
        raise NotImplementedError(f"torch.{name} has no implementation on Ascend{_caller()}: {reason}")
    out = compute(fn, *args, **kwargs)
    counters.count_fallback(name, reason, _caller())
    return out
