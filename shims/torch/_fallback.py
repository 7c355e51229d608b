"""The net below everything: PyTorch's own CPU operator, on shared memory, with its gradient.

Tensors cross over by DLPack without a copy. When a gradient will be wanted, the call is one node of
MindSpore's graph whose backward asks PyTorch's autograd. Each call is counted (`runtime.fallbacks()`).
"""

import functools
import sys
import weakref
from collections.abc import Callable, Sequence
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
    gen,
    jit_state,
    raw_address,
    raw_dtype,
    raw_requires_grad,
    raw_shape,
    refuse_capture,
)

_TO_REAL = {d.name: getattr(real, d.name) for d in (*_dtypes.ALL, *_dtypes.ABSENT.values()) if hasattr(real, d.name)}


_to_shared: Any = None  # bound by _inplace, which needs this module


def to_real(x: Any, alone: bool = True) -> real.Tensor:
    """A PyTorch tensor on the memory of a MindSpore tensor; a new one, unless it need not stand `alone`.

    A new one has a version and a gradient of its own.
    """
    known = x.__dict__.get("_np")
    if known is not None and known[2] is not None and jit_state._jit_context is None and known[1] == raw_address(x):
        return known[2].data if alone else known[2]  # what `_to_shared` would give after more questions
    refuse_capture(x)
    if 0 in raw_shape(x):
        return real.empty(tuple(raw_shape(x)), dtype=_TO_REAL[_dtypes.BY_MS[raw_dtype(x)].name])
    return _to_shared(x)


_BF16 = _dtypes.bfloat16.ms
_PERMUTED = {real.float16, real.float32, real.float64, real.int32, real.int64}
"""What MindSpore reads with its strides."""


def from_real(t: real.Tensor) -> Any:
    """The MindSpore tensor on the memory of a PyTorch tensor, with its strides if it fills its memory."""
    t = t.detach()
    if t.layout is not real.strided:
        raise NotImplementedError(f"a tensor of layout {t.layout} has no MindSpore counterpart; call .to_dense() first")
    if t.is_conj() or t.is_neg() or not t.is_cpu:
        t = t.cpu().resolve_conj().resolve_neg()
    kind, permuted = t.dtype, not t.is_contiguous()
    if permuted and (kind not in _PERMUTED or t.untyped_storage().nbytes() != t.numel() * t.itemsize):
        t, permuted = t.contiguous(), False
    if kind is real.bfloat16:
        if t.numel() == 0 or t.dim() == 0:
            return MsTensor.from_numpy(t.float().numpy()).astype(_BF16)
        return MsTensor.from_dlpack(real.utils.dlpack.to_dlpack(t))
    array = t.numpy()
    if permuted:  # by DLPack MindSpore would first fill as much memory with zeros
        whole = TensorPy.from_numpy(t.as_strided((t.numel(),), (1,), 0).numpy())
        x = gen.as_strided_op(whole, tuple(t.shape), t.stride(), 0)
    else:
        x = TensorPy.from_numpy(array)
    x.__dict__["_np"] = (array, raw_address(x), t)  # what `_inplace.memory` and `to_shared` would build
    return x


def _is_ms(x: Any) -> bool:
    return isinstance(x, TensorPy)


def _convert(x: Any, tensors: list[Any]) -> Any:
    """`x` for PyTorch; MindSpore tensors are appended to `tensors` and become placeholders."""
    if _is_ms(x):
        tensors.append(x)
        return _slot(len(tensors) - 1)
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


_slot = functools.cache(_Slot)


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
        return _slot(len(out) - 1)
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
Formula: Any = None  # bound by _formulas, as the next
apply_formula: Any = None
_TWICE = "Trying to backward through the graph a second time. Specify retain_graph=True if you need to."


class Call:
    """A call of PyTorch's `fn`: its arguments with slots for the tensors, and the structure of its result.

    One that is a node of the graph also keeps what its backward needs, in one object of few parts: garbage collection
    visits whatever a step's graph holds.
    """

    __slots__ = ("args", "flat", "fn", "given", "kwargs", "leaves", "made", "nested", "structure", "versions", "wanted")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Any]):
        made, nested = [], False
        for a in args:
            if isinstance(a, TensorPy):
                made.append(_slot(len(tensors)))
                tensors.append(a)
            elif a is None or a.__class__ in _PLAIN:
                made.append(a)
            else:
                made.append(_convert(a, tensors))
                nested = nested or isinstance(a, (list, tuple, dict))
        self.fn, self.args, self.structure, direct = fn, tuple(made), None, len(tensors)
        self.kwargs = _convert(kwargs, tensors) if kwargs else _NO_OPTIONS
        self.nested = nested or len(tensors) > direct
        """Whether tensors are deeper than among the arguments themselves."""
        self.leaves: Any = None
        """PyTorch's tensors of the arguments, or what a formula keeps, until the graph is freed."""
        self.given: Any = None
        """Weak references to the arguments; strong ones, and such to the results, would keep all alive."""
        self.made: Any = None
        """What the results know of their memory, then weak references to them."""
        self.versions: tuple[int, ...] = ()
        """Those of the arguments and then of the results, as they were when the node was made."""

    def fill(self, fn: Callable[..., Any], reals: list[real.Tensor]) -> Any:
        """`fn` of the arguments, with these tensors."""
        if self.nested:
            return fn(*_fill(self.args, reals), **_fill(self.kwargs, reals))
        return fn(*[reals[a.index] if a.__class__ is _Slot else a for a in self.args], **self.kwargs)

    def finish(self, ctx: Any, tensors: tuple[Any, ...], flat: Sequence[real.Tensor]) -> tuple[Any, ...]:
        """The results of a node for MindSpore. Notes what may be written to before the backward pass."""
        ctx.save_for_backward(*tensors)
        self.given, self.versions = tuple([weakref.ref(t) for t in tensors]), tuple([t._version for t in tensors])
        results = tuple([from_real(t) for t in flat])
        self.made = [r.__dict__.get("_np") for r in results]
        return results

    def attach(self, results: Any) -> tuple[Any, ...]:
        """The same results as MindSpore's graph gives them out, which are other objects."""
        results = results if isinstance(results, tuple) else (results,)
        for r, known in zip(results, self.made, strict=True):
            if known is not None:
                r.__dict__["_np"] = known
        self.made = tuple([weakref.ref(r) for r in results])
        self.versions += tuple([r._version for r in results])
        return results

    def __call__(self, reals: list[real.Tensor]) -> list[real.Tensor]:
        """The tensors of the result for these arguments."""
        out = self.fill(self.fn, reals)
        if out.__class__ is real.Tensor:
            self.structure = _ONLY
            return [out]
        flat: list[real.Tensor] = []
        self.structure = _flatten(out, flat)
        return flat


_PLAIN = frozenset((int, float, bool, str))
_NO_OPTIONS: dict[str, Any] = {}
_ONLY = _slot(0)
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
        if real.is_grad_enabled():
            flat = call(leaves)
        else:
            with real.enable_grad():
                flat = call(leaves)
        call.leaves, call.wanted, call.flat, ctx.call = leaves, tuple(wanted), flat, call
        results = call.finish(ctx, tensors, flat)
        if not all(t.requires_grad for t in flat):
            ctx.mark_non_differentiable(*[r for r, t in zip(results, flat, strict=True) if not t.requires_grad])
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        call = ctx.call
        leaves, flat, wanted = call.leaves, call.flat, call.wanted
        if leaves is None:
            raise RuntimeError(_TWICE)
        for reference, version, t in zip(call.given + call.made, call.versions, leaves + flat, strict=True):
            # Tell PyTorch what was overwritten since: it complains if it needs the values.
            if (now := reference()) is not None and now._version != version:
                real.autograd.graph.increment_version(t)
        out: list[Any] = [None] * (len(leaves) + 1)
        pairs = [(i, g) for i, g in enumerate(grads) if g is not None and flat[i].requires_grad]
        if not pairs or not wanted:
            return tuple(out)
        if creating:
            give_recorded(ctx, pairs, out)
            return tuple(out)
        results = tuple([flat[i] for i, _ in pairs])
        seeds = tuple([_as(to_real(g), r.dtype) for r, (_, g) in zip(results, pairs, strict=True)])
        inputs = tuple([leaves[i] for i in wanted])
        # torch.autograd.grad's last line; its checks of what is right here by construction cost a fifth of a node.
        found = _engine.run_backward(
            results, seeds, keeping, False, inputs, allow_unreachable=True, accumulate_grad=False
        )
        give(call, seeds, dict(zip(wanted, found, strict=True)), out)
        if not keeping:
            call.leaves = call.flat = call.given = None
        return tuple(out)


_apply_node = super(MsFunction, TorchCall).apply
"""MindSpore's `apply` without its Python, which would look for a setup_context each time."""


def _as(t: real.Tensor, dtype: real.dtype) -> real.Tensor:
    return t if t.dtype is dtype else t.to(dtype)


def give(call: Call, seeds: Sequence[Any], found: dict[int, Any], out: list[Any]) -> None:
    """Add the gradients found, by argument, to leaves here, or put them into `out`, whose first is for `call`."""
    for i, g in found.items():
        if g is None:
            continue
        argument = call.given[i]() if accumulating else None
        if argument is not None and accumulates_here(argument):
            shares = [_memory_of(t) for t in (*seeds, *found.values()) if t is not None].count(_memory_of(g))
            accumulate(argument, g, shares == 1)
        else:
            out[i + 1] = from_real(g)


def _memory_of(t: real.Tensor) -> int:
    return t.untyped_storage().data_ptr()


def _apply(call: Call, tensors: Any) -> tuple[Any, ...]:
    if call.fn.__class__ is Formula and not call.nested and call.fill(call.fn.fits, tensors):
        return call.attach(apply_formula(call, *tensors))
    return call.attach(_apply_node(call, *tensors))


def give_recorded(ctx: Any, pairs: list[tuple[int, Any]], out: list[Any]) -> None:
    """Put the gradients into `out`, as `give` does: results of a node of their own that computes the call again."""
    call, wanted, n = ctx.call, ctx.call.wanted, len(ctx.call.given)
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
    for i, g in zip(used, _apply(again, tensors), strict=True):
        out[wanted[i] + 1] = g


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
