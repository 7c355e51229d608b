"""Runs one operator of the stand-in on one entry of PyTorch's operator database and compares with PyTorch.

For each sample of each dtype, in this order: the result when nothing is recorded; for float32 also the recorded
result, its gradient, and both again on inputs whose memory is not contiguous; at the end PyTorch's own list of
calls that must be refused. Random operators are compared too: both sides are seeded alike.
"""

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch as real

from hf_ascend import torch as ours
from hf_ascend.conformance import operators_names as names
from hf_ascend.conformance import operators_table as table
from hf_ascend.runtime import counters
from hf_ascend.torch import _dtypes, _fallback, _registry

DTYPES = ("float32", "float16", "bfloat16", "int64", "bool")
SEED = 1234
MOST = 160
"""Samples of an entry per dtype."""
_KEPT = 4
"""Failures whose text is kept per operator; all are counted."""


class Difference(Exception):
    """What the stand-in did otherwise than PyTorch."""


class NotApplicableError(Exception):
    """A sample that has no counterpart: PyTorch refuses this form of the call, or it holds sparse tensors."""


# ---- both sides' callables
def callables(planned: names.Planned, entry: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(PyTorch's, the stand-in's) callable for an operator tested by a database entry."""
    if planned.form == "function":
        theirs = names.real_object(planned.name)
        if (
            theirs is names.real_object(entry.name)
            and entry.op is not theirs
            and isinstance(entry.op, types.FunctionType)
        ):
            return entry.op, _retargeted(entry.op)  # the database's samples suit its own wrapper
        return theirs, _ours(planned.name)
    method = planned.name.removeprefix("Tensor.")
    found = getattr(real.Tensor, method)
    if not callable(found):
        return (lambda x: getattr(x, method)), (lambda x: getattr(x, method))
    as_database = entry.op if isinstance(entry.op, types.FunctionType) and entry.name == method else None
    if as_database is not None and as_database.__name__ == "<lambda>":
        return as_database, _retargeted(as_database)
    return (lambda x, *a, **k: getattr(x, method)(*a, **k)), (lambda x, *a, **k: getattr(x, method)(*a, **k))


def _ours(name: str) -> Callable[..., Any]:
    if name.startswith("nn.functional."):
        import hf_ascend.torch.nn.functional as functional

        return getattr(functional, name.removeprefix("nn.functional."))
    at: Any = ours
    for part in name.split("."):
        at = getattr(at, part)
    return at


def _retargeted(fn: types.FunctionType) -> Callable[..., Any]:
    """The database's Python function with `torch` meaning the stand-in."""
    scope = dict(fn.__globals__, torch=ours, wrapper_set_seed=_seeded)
    made = types.FunctionType(fn.__code__, scope, fn.__name__, fn.__defaults__, fn.__closure__)
    made.__kwdefaults__ = fn.__kwdefaults__
    return made


def _seeded(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    ours.manual_seed(42)
    return op(*args, **kwargs)


# ---- samples
def convert(x: Any, leaves: list[tuple[Any, Any]], grad: bool, spread: bool) -> tuple[Any, Any]:
    """(PyTorch's, the stand-in's) argument from a sample's. Tensors are copied.

    Those that want a gradient are noted in `leaves`; `spread` puts dimensioned ones on memory with gaps.
    """
    if isinstance(x, real.Tensor):
        if x.layout is not real.strided or x.device.type != "cpu":
            raise NotApplicableError(f"layout {x.layout} on {x.device}")
        want = grad and x.requires_grad
        source = x.detach().resolve_conj().resolve_neg().clone(memory_format=real.contiguous_format)
        if spread and x.dim() and x.numel():
            source = source.repeat_interleave(2, -1)
        a, b = source.clone(), _registry.wrap(_fallback.from_real(source.clone()))
        if source.dim() and source.shape != x.shape:
            a, b = a[..., ::2].detach(), b[..., ::2].detach()
        if want:
            a.requires_grad_(True)
            b.requires_grad_(True)
            leaves.append((a, b))
        return a, b
    if isinstance(x, (list, tuple)):
        pairs = [convert(v, leaves, grad, spread) for v in x]
        kind = list if isinstance(x, list) else tuple
        return kind(p for p, _ in pairs), kind(q for _, q in pairs)
    if isinstance(x, dict):
        pairs_ = {k: convert(v, leaves, grad, spread) for k, v in x.items()}
        return {k: p for k, (p, _) in pairs_.items()}, {k: q for k, (_, q) in pairs_.items()}
    return x, _constant(x)


def _constant(x: Any) -> Any:
    if isinstance(x, real.dtype):
        return _dtypes.as_dtype(x)
    if isinstance(x, real.device):
        return ours.device(str(x))
    if isinstance(x, (real.memory_format, real.layout)):
        return getattr(ours, str(x).removeprefix("torch."))
    return x


def spread_out(found: list[Any], most: int) -> list[Any]:
    """At most `most` of the samples, evenly spread: some entries have thousands that differ little."""
    return found[:: -(-len(found) // most)] if found else []


def samples(entry: Any, dtype: str, grad: bool) -> Iterator[Any]:
    """The database's samples of a dtype; always the same ones."""
    real.manual_seed(SEED)
    np.random.seed(SEED)
    import random

    random.seed(SEED)
    yield from entry.sample_inputs("cpu", getattr(real, dtype), requires_grad=grad)


# ---- comparison
def flatten(x: Any) -> list[Any]:
    """Leaves of nested results."""
    if isinstance(x, (list, tuple)) and not isinstance(x, real.Size):
        return [leaf for v in x for leaf in flatten(v)]
    return [tuple(x)] if isinstance(x, real.Size) else [x]


def compare(want: Any, got: Any, tolerance: tuple[float, float], values: bool = True) -> None:
    """Raises Difference when results differ in structure, dtype, shape or values."""
    for field in getattr(type(want), "_fields", ()) or _fields(want):
        if not hasattr(got, field):
            raise Difference(f"the result has no field {field!r}")
    a, b = flatten(want), flatten(got)
    if len(a) != len(b):
        raise Difference(f"{len(b)} results, not {len(a)}")
    for x, y in zip(a, b, strict=True):
        if isinstance(x, real.Tensor):
            _compare_tensors(x, y, tolerance, values)
        elif isinstance(x, float) and isinstance(y, float):
            if not np.isclose(x, y, *tolerance, equal_nan=True):
                raise Difference(f"{y!r}, not {x!r}")
        elif type(y) is not type(_constant(x)) or y != x:
            raise Difference(f"{y!r} of type {type(y).__name__}, not {x!r} of type {type(x).__name__}")


def _fields(x: Any) -> list[str]:
    if not isinstance(x, tuple) or not hasattr(type(x), "n_fields"):
        return []
    skipped = ("count", "index", "n_fields", "n_sequence_fields", "n_unnamed_fields")
    return [n for n in dir(type(x)) if not n.startswith("_") and n not in skipped]


def _compare_tensors(x: real.Tensor, y: Any, tolerance: tuple[float, float], values: bool) -> None:
    if not isinstance(y, ours.Tensor):
        raise Difference(f"a {type(y).__name__}, not a tensor")
    if tuple(x.shape) != tuple(y.shape):
        raise Difference(f"shape {tuple(y.shape)}, not {tuple(x.shape)}")
    if str(x.dtype) != str(y.dtype):
        raise Difference(f"dtype {y.dtype}, not {x.dtype}")
    if not values or not x.numel():
        return
    p = x.detach().resolve_conj().resolve_neg()
    q = _fallback.to_real(y.detach())
    if p.dtype in (real.float16, real.bfloat16):
        p, q = p.float(), q.float()
    p, q = p.numpy(), q.numpy()
    if p.dtype.kind in "fc":
        good = np.isclose(q, p, *tolerance, equal_nan=True)
        if not good.all():
            with np.errstate(all="ignore"):
                worst = np.where(good, 0, np.abs(q - p))
            at = np.unravel_index(int(np.nanargmax(np.where(good, -1, np.nan_to_num(worst, nan=np.inf)))), p.shape)
            raise Difference(f"values: {q[at]!s} at {tuple(map(int, at))}, not {p[at]!s}")
    elif not (p == q).all():
        at = tuple(int(v) for v in np.argwhere(p != q)[0])
        raise Difference(f"values: {q[at]!s} at {at}, not {p[at]!s}")


def compare_gradients(want: Any, got: Any, leaves: list[tuple[Any, Any]], tolerance: tuple[float, float]) -> bool:
    """Whether there was a gradient to compare; raises Difference when results' gradients differ."""
    pairs = [
        (x, y)
        for x, y in zip(flatten(want), flatten(got), strict=True)
        if isinstance(x, real.Tensor) and x.requires_grad and x.numel()
    ]
    for x, y in zip(flatten(want), flatten(got), strict=True):
        if isinstance(x, real.Tensor) and x.numel() and bool(x.requires_grad) != bool(y.requires_grad):
            raise Difference(f"requires_grad is {y.requires_grad}, not {x.requires_grad}")
    if not pairs or not leaves:
        return False
    real.manual_seed(SEED)
    seeds = [real.randn_like(x) for x, _ in pairs]
    theirs = real.autograd.grad([x for x, _ in pairs], [a for a, _ in leaves], seeds, allow_unused=True)
    mine = ours.autograd.grad(
        [y for _, y in pairs],
        [b for _, b in leaves],
        [_registry.wrap(_fallback.from_real(s)) for s in seeds],
        allow_unused=True,
    )
    for i, (p, q) in enumerate(zip(theirs, mine, strict=True)):
        try:
            if q is None or p is None:
                there = p if q is None else _fallback.to_real(q)
                if there is not None and bool((there != 0).any()):
                    raise Difference("no gradient" if q is None else "a gradient where there is none")
            else:
                _compare_tensors(p, q, tolerance, values=True)
        except Difference as d:
            raise Difference(f"gradient of input {i}: {d}") from None
    return True


# ---- one operator
class Tally:
    """Counts of one operator by check: passed, known (in the table), failed; and the first failures' texts."""

    def __init__(self, planned: names.Planned) -> None:
        self.planned = planned
        self.checks: dict[str, dict[str, int]] = {}
        self.failures: list[str] = []
        self.known_used: set[str] = set()
        self.calls = self.fallback_calls = 0
        self.fallback_names: set[str] = set()

    def count(self, check: str, outcome: str) -> None:
        """Note one outcome: "passed", "known" or "failed"."""
        self.checks.setdefault(check, {"passed": 0, "known": 0, "failed": 0})[outcome] += 1

    def difference(self, check: str, entry: str, text: str, call: str) -> None:
        """Note a difference: a known one if the table has it, else a failure."""
        known = table.known(self.planned.name, entry, check, text)
        if known is not None:
            self.known_used.add(known.reason)
            self.count(check, "known")
            return
        self.count(check, "failed")
        if len([f for f in self.failures if f.startswith(check)]) < _KEPT:
            self.failures.append(f"{check}: {entry}{call}: {text}"[:400])


def check(planned: names.Planned, limit: int | None = None, errors: bool = True) -> dict[str, Any]:
    """Everything the database has for one operator, as a dictionary for JSON; `limit` caps the samples per dtype."""
    tally = Tally(planned)
    entries = [e for group in names.database().values() for e in group if names.entry_id(e) in planned.entries]
    for entry in {names.entry_id(e): e for e in entries}.values():
        theirs, mine = callables(planned, entry)
        supported = {str(d).removeprefix("torch.") for d in entry.supported_dtypes("cpu")}
        # Operators on complex numbers alone (view_as_real, istft) are tested on those.
        for dtype in [d for d in DTYPES if d in supported] or sorted({"complex64"} & supported):
            _check_dtype(tally, planned, entry, theirs, mine, dtype, limit)
        if errors and planned.form != "in-place" and entry.error_inputs_func is not None:
            _check_errors(tally, planned, entry, theirs, mine)
    return {
        "checks": tally.checks, "failures": tally.failures, "known": sorted(tally.known_used), "calls": tally.calls,
        "fallback_calls": tally.fallback_calls, "fallback_names": sorted(tally.fallback_names),
    }  # fmt: skip


def _check_dtype(
    tally: Tally, planned: names.Planned, entry: Any, theirs: Any, mine: Any, dtype: str, limit: int | None
) -> None:
    recorded = dtype in ("float32", "complex64") and entry.supports_autograd
    passes = [(dtype, False, False)]
    if dtype in ("float32", "complex64"):
        passes += [("not contiguous", False, True)]
    if recorded:
        passes += [("recorded", True, False), ("recorded, not contiguous", True, True)]
    for sample in spread_out(list(samples(entry, dtype, recorded)), limit or MOST):
        for check_name, grad, spread in passes:
            _check_sample(tally, planned, entry, theirs, mine, sample, (check_name, dtype, grad, spread))


def _check_sample(
    tally: Tally, planned: names.Planned, entry: Any, theirs: Any, mine: Any, sample: Any, how: tuple
) -> None:
    check_name, dtype, grad, spread = how
    entry_id = names.entry_id(entry)
    tolerance = table.tolerance(planned.name, dtype)
    values = table.has_values(planned.name, entry_id)
    leaves: list[tuple[Any, Any]] = []
    try:
        (x, y), (xa, ya), (xk, yk) = (
            convert(v, leaves, grad, spread) for v in (sample.input, tuple(sample.args), sample.kwargs)
        )
        if planned.form != "function" and not isinstance(x, real.Tensor):
            raise NotApplicableError("the first argument is not a tensor")
        real.manual_seed(SEED)
        if planned.form == "in-place":
            x = x.clone()
        try:
            want = theirs(x, *xa, **xk)
        except Exception as error:
            raise NotApplicableError(str(error)) from None
        if any(isinstance(v, real.Tensor) and v.layout is not real.strided for v in flatten(want)):
            raise NotApplicableError("the result is not strided")
    except (NotApplicableError, NotImplementedError):
        return
    ours._grad_mode.ensure_recording()
    ours.manual_seed(SEED)
    counters.reset_fallbacks()
    tally.calls += 1
    call = ""
    try:
        call = f"({summary(sample)})"
        if planned.form == "in-place":
            y = y.clone()
        got = mine(y, *ya, **yk)
        used = counters.fallbacks()
        if used:
            tally.fallback_calls += 1
            tally.fallback_names |= set(used)
        if table.tied(planned.name) and values:
            form = "(k, dim)" if planned.name.endswith(("topk", "kthvalue")) else "(dim)"
            compare(_pointed(want, x, sample, form), _pointed(got, y, sample, form), tolerance)
        else:
            _compare_half(want, got, tolerance, values, dtype, theirs, sample)
        if planned.form == "in-place":
            compare(x, y, tolerance, values)
    except Exception as error:
        tally.difference(check_name, entry_id, _text(error), call)
        return
    tally.count(check_name, "passed")
    if grad and values:
        try:
            process = sample.output_process_fn_grad
            if compare_gradients(process(want), process(got), leaves, table.tolerance(planned.name, "gradient")):
                tally.count("gradient" if not spread else "gradient, not contiguous", "passed")
        except Exception as error:
            tally.difference("gradient" if not spread else "gradient, not contiguous", entry_id, _text(error), call)


def _compare_half(
    want: Any, got: Any, tolerance: tuple[float, float], values: bool, dtype: str, theirs: Any, sample: Any
) -> None:
    """`compare`; in half precision the result of float32, rounded, is as right as PyTorch's own."""
    try:
        compare(want, got, tolerance, values)
    except Difference:
        if dtype not in ("float16", "bfloat16"):
            raise
        kind = getattr(real, dtype)
        wide = sample.transform(lambda t: t.float() if isinstance(t, real.Tensor) and t.dtype is kind else t)
        try:
            better = theirs(wide.input, *wide.args, **wide.kwargs)
        except Exception:
            better = None
        pairs = zip(flatten(want), flatten(better), strict=False)
        again = [b.to(a.dtype) if isinstance(a, real.Tensor) and isinstance(b, real.Tensor) else a for a, b in pairs]
        if better is None or len(again) != len(flatten(got)):
            raise
        compare(again, flatten(got), tolerance, values)


def _pointed(result: Any, x: Any, sample: Any, signature: str) -> Any:
    """The result with its indices (the int64 tensor that comes last) replaced by what they point to in `x`."""
    at = result[-1] if isinstance(result, tuple) else result
    if str(at.dtype) != "torch.int64" or (at is result and x.dtype is not at.dtype and not x.dim()):
        return result
    position = 1 if "k" in signature else 0
    dim = sample.kwargs.get("dim", sample.args[position] if len(sample.args) > position else -1)
    if not x.dim() or not isinstance(dim, int):
        return result
    if isinstance(result, tuple) or at.dim() == x.dim():
        full = at if at.dim() == x.dim() else at.unsqueeze(dim)
        pointed = x.detach().gather(dim, full)
        return (*result[:-1], pointed) if isinstance(result, tuple) else pointed
    return result


def _check_errors(tally: Tally, planned: names.Planned, entry: Any, theirs: Any, mine: Any) -> None:
    """Calls that PyTorch refuses must be refused."""
    real.manual_seed(SEED)
    for wrong in entry.error_inputs("cpu"):
        sample = wrong.sample_input
        try:
            pairs = [convert(v, [], True, False) for v in (sample.input, tuple(sample.args), sample.kwargs)]
            (x, y), (xa, ya), (xk, yk) = pairs
        except (NotApplicableError, NotImplementedError, TypeError, ValueError):
            continue  # an argument that the stand-in cannot even hold: 65 dimensions, say
        try:
            theirs(x, *xa, **xk)
            continue  # not an error in this form of the call
        except Exception as error:
            reason = _text(error)
        try:
            mine(y, *ya, **yk)
        except Exception:
            tally.count("errors", "passed")
        else:
            tally.difference("errors", names.entry_id(entry), f"accepted; PyTorch: {reason}", f"({summary(sample)})")


def _text(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:220] if isinstance(error, Difference) else f"{type(error).__name__}: {lines[0][:200]}"


def summary(sample: Any) -> str:
    """A sample in a few words."""
    parts = [_brief(sample.input), *(_brief(a) for a in sample.args)]
    return ", ".join([*parts, *(f"{k}={_brief(v)}" for k, v in sample.kwargs.items())])[:160]


def _brief(x: Any) -> str:
    if isinstance(x, real.Tensor):
        return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
    if isinstance(x, (list, tuple)):
        return "[" + ", ".join(_brief(v) for v in x) + "]"
    return repr(x)[:40]
