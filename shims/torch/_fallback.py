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
from ._ms import ON_CPU, MsFunction, MsTensor, TensorPy, executor, refuse_capture

_TO_REAL = {d.name: getattr(real, d.name) for d in (*_dtypes.ALL, *_dtypes.ABSENT.values()) if hasattr(real, d.name)}


_to_shared: Any = None  # bound by _inplace, which needs this module


def to_real(x: Any) -> real.Tensor:
    """The PyTorch tensor on the memory of a MindSpore tensor (copied only if DLPack cannot express it)."""
    refuse_capture(x)
    if _to_shared is not None and not TensorPy.is_contiguous(x) and 0 not in x.shape:
        return _to_shared(x)
    x = MsTensor.data.__get__(x)
    if not x.shape or not x.is_contiguous() or 0 in x.shape or x.dtype in _COPIED:
        return real.from_numpy(x.asnumpy().copy()).reshape(x.shape) if x.dtype != _BF16 else _bf16(x)
    return real.from_dlpack(MsTensor.to_dlpack(x))


_COPIED = {
    _dtypes.bool.ms,
    _dtypes.complex64.ms,
    _dtypes.complex128.ms,
    _dtypes.uint16.ms,
    _dtypes.uint32.ms,
    _dtypes.uint64.ms,
}
_BF16 = _dtypes.bfloat16.ms
_STRIDED = {real.float16, real.bfloat16, real.float32, real.float64, real.int32, real.int64}
"""What DLPack hands to MindSpore with its strides."""


def _bf16(x: Any) -> real.Tensor:
    if 0 in x.shape:
        return real.empty(x.shape, dtype=real.bfloat16)
    flat = x.contiguous().reshape((-1,))
    return real.from_dlpack(MsTensor.to_dlpack(flat)).reshape(x.shape).clone()


def from_real(t: real.Tensor) -> Any:
    """The MindSpore tensor on the memory of a PyTorch tensor."""
    t = t.detach()
    if t.layout is not real.strided:
        raise NotImplementedError(f"a tensor of layout {t.layout} has no MindSpore counterpart; call .to_dense() first")
    t = t.cpu().resolve_conj().resolve_neg()
    if not t.is_contiguous():
        if t.dtype in _STRIDED and t.untyped_storage().nbytes() == t.numel() * t.itemsize:
            return MsTensor.from_dlpack(real.utils.dlpack.to_dlpack(t))
        t = t.contiguous()
    if t.dtype is real.bfloat16:
        if t.numel() == 0 or t.dim() == 0:
            return MsTensor.from_numpy(t.float().numpy()).astype(_BF16)
        return MsTensor.from_dlpack(real.utils.dlpack.to_dlpack(t))
    return MsTensor.from_numpy(t.numpy())


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


class TorchCall(MsFunction):
    """One PyTorch call as a node of MindSpore's autograd graph; its gradient is PyTorch's, of any order."""

    @staticmethod
    def forward(ctx: Any, call: Any, box: list[Any], *tensors: Any) -> Any:
        leaves = [to_real(t) for t in tensors]
        wanted = [i for i, t in enumerate(tensors) if t._requires_grad and _differentiable(leaves[i])]
        leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(leaves)]
        flat: list[real.Tensor] = []
        with real.enable_grad():
            box.append(_flatten(call(leaves), flat))
        ctx.leaves, ctx.wanted, ctx.flat = leaves, wanted, flat
        ctx.save_for_backward(*tensors)
        # Arguments and results know this node, if only after a write in place: strong references would keep all alive.
        ctx.call, ctx.given = call, [(weakref.ref(t), t._version) for t in tensors]
        results = tuple(from_real(t) for t in flat)
        ctx.box = box
        ctx.mark_non_differentiable(*(r for r, t in zip(results, flat, strict=True) if not t.requires_grad))
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if ctx.leaves is None:
            raise RuntimeError(_TWICE)
        for (known, version), t in zip((*ctx.given, *ctx.box[1]), (*ctx.leaves, *ctx.flat), strict=True):
            if (now := known()) is not None and now._version != version:
                real.autograd.graph.increment_version(t)  # overwritten since: PyTorch complains if it needs the values
        out: list[Any] = [None] * (len(ctx.leaves) + 2)
        wanted = [t.requires_grad and g is not None for t, g in zip(ctx.flat, grads, strict=True)]
        pairs = [(i, g) for i, g in enumerate(grads) if wanted[i]]
        if not pairs or not ctx.wanted:
            return tuple(out)
        if creating:
            found = _recorded_gradients(ctx, pairs)
        else:
            results, seeds = [ctx.flat[i] for i, _ in pairs], [to_real(g).to(ctx.flat[i].dtype) for i, g in pairs]
            inputs = [ctx.leaves[i] for i in ctx.wanted]
            found = list(real.autograd.grad(results, inputs, seeds, allow_unused=True, retain_graph=keeping))
            taken = [_memory_of(t) for t in (*seeds, *(g for g in found if g is not None))]
            for i, (at, g) in enumerate(zip(ctx.wanted, found, strict=True)):
                argument = ctx.given[at][0]()
                if g is None:
                    continue
                if accumulating and argument is not None and accumulates_here(argument):
                    accumulate(argument, g, taken.count(_memory_of(g)) == 1)
                    found[i] = None
                else:
                    found[i] = from_real(g)
            if not keeping:
                ctx.leaves = ctx.flat = ctx.given = None
        for i, g in zip(ctx.wanted, found, strict=True):
            out[i + 2] = g
        return tuple(out)


def _memory_of(t: real.Tensor) -> int:
    return t.untyped_storage().data_ptr()


def _apply(call: Any, box: list[Any], tensors: Any) -> tuple[Any, ...]:
    results = TorchCall.apply(call, box, *tensors)
    results = results if isinstance(results, tuple) else (results,)
    box.append([(weakref.ref(r), r._version) for r in results])
    return results


def _recorded_gradients(ctx: Any, pairs: list[tuple[int, Any]]) -> list[Any]:
    """The gradients as the results of a node of their own, which computes the call once more."""
    n, wanted, call = len(ctx.given), ctx.wanted, ctx.call
    used: list[int] = []

    def gradients(reals: list[real.Tensor]) -> Any:
        inputs = [t if t.requires_grad else t.detach().requires_grad_(i in wanted) for i, t in enumerate(reals[:n])]
        flat: list[real.Tensor] = []
        _flatten(call(inputs), flat)
        results = [flat[i] for i, _ in pairs]
        found = real.autograd.grad(
            results, [inputs[i] for i in wanted], [g.to(r.dtype) for r, g in zip(results, reals[n:], strict=True)],
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        used[:] = [i for i, g in enumerate(found) if g is not None]
        return tuple(found[i] for i in used)

    results = _apply(gradients, [], (*ctx.saved_tensors, *(g for _, g in pairs)))
    made: list[Any] = [None] * len(wanted)
    for i, g in zip(used, results, strict=True):
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
    plan = _convert(args, tensors), _convert(kwargs, tensors)

    def call(reals: list[real.Tensor]) -> Any:
        a, k = _fill(plan, reals)
        return fn(*a, **k)

    if any(t._requires_grad for t in tensors) and executor.enable_grad():
        box: list[Any] = []
        results = _apply(call, box, tensors)
        return _fill(box[0], list(results))
    flat: list[real.Tensor] = []
    with real.no_grad():
        shape = _flatten(call([to_real(t) for t in tensors]), flat)
    return _fill(shape, [from_real(t) for t in flat])


def run(name: str, fn: Callable[..., Any], /, *args: Any, reason: str = "not registered", **kwargs: Any) -> Any:
    """Run PyTorch's `fn` on MindSpore tensors and return MindSpore tensors; counted."""
    if not ON_CPU:
        raise NotImplementedError(f"torch.{name} has no implementation on Ascend{_caller()}: {reason}")
    out = compute(fn, *args, **kwargs)
    counters.count_fallback(name, reason, _caller())
    return out
