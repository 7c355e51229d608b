"""Two nested outputs, or two sets of gradients, held against each other tensor by tensor.

The rules, for float32: shapes and dtypes are equal; integers and booleans are equal; infinities stand in the same
places; elsewhere max |a - b| <= tolerance * max(1, max |b|). Gradients are relative to each parameter's own: `Measure`.

What PyTorch gives must be worth comparing: NaN, an output without tensors or one that is zero throughout is an error.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

OUTPUT = 1e-4


class MismatchError(Exception):
    """The first tensors that differ, and by how much; `error` is the largest difference over what is allowed."""

    def __init__(self, message: str, error: float | None = None):
        super().__init__(message)
        self.error = error


class ReferenceError(Exception):  # noqa: A001 - its module's own, never imported with *
    """PyTorch's own result cannot be compared with: NaN, nothing, or zero throughout."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How many tensors agreed, and the largest difference as a share of what is allowed.

    `conditioned` says that it took the movement of PyTorch's own result (see `conditioning`) to agree.
    """

    tensors: int
    error: float
    conditioned: bool = False


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of real torch or of the stand-in."""
    return hasattr(value, "is_floating_point") and hasattr(value, "detach")


def walk(value: Any, name: str = "", seen: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every tensor and number below `value` with its path, those in caches and other objects of the models included."""
    if is_tensor(value) or isinstance(value, (bool, int, float, complex, np.ndarray)):
        yield name, value
        return
    if id(value) in seen:
        return
    seen = (*seen, id(value))
    if hasattr(value, "items"):
        children = ((str(k), v) for k, v in value.items())
    elif isinstance(value, (list, tuple)):
        children = ((str(i), v) for i, v in enumerate(value))
    elif (type(value).__module__ or "").split(".")[0] in ("transformers", "hf_ascend") and hasattr(value, "__dict__"):
        if hasattr(value, "to_dict") or hasattr(value, "named_parameters"):
            return  # configurations and modules are not output
        children = ((k, v) for k, v in sorted(vars(value).items()) if not k.startswith("__"))
    else:
        return
    for key, child in children:
        yield from walk(child, f"{name}.{key}" if name else key, seen)


def array(value: Any) -> np.ndarray:
    """A tensor's or number's values; bfloat16 as float32."""
    if not is_tensor(value):
        return np.asarray(value)
    value = value.detach()
    if str(value.dtype).endswith("bfloat16") or str(value.dtype) == "BFloat16":
        value = value.float()
    return np.array(value.resolve_conj().numpy() if value.is_complex() else value.numpy())


def _dtype(value: Any) -> str:
    return str(value.dtype).rsplit(".", 1)[-1] if is_tensor(value) else type(value).__name__


def floats(output: Any) -> dict[str, np.ndarray]:
    """Path -> values of the floating tensors of a nested output."""
    return {k: array(v) for k, v in walk(output) if is_tensor(v) and v.is_floating_point()}


def outputs(ours: Any, theirs: Any, tolerance: float = OUTPUT, slack: dict[str, float] | None = None) -> Agreement:
    """Compare nested outputs; `slack` allows more for single paths.

    Raises MismatchError naming the first path that differs, ReferenceError when `theirs` is not worth comparing.
    """
    want, got = dict(walk(theirs)), dict(walk(ours))
    floats = {k: array(v) for k, v in want.items() if is_tensor(v) and (v.is_floating_point() or v.is_complex())}
    whole = [k for k, v in want.items() if is_tensor(v)]
    if not whole:
        raise ReferenceError("PyTorch's output has no tensor")
    if floats and not any(np.any(v) for v in floats.values()):
        raise ReferenceError("PyTorch's output is zero throughout")
    for key, value in floats.items():
        if np.isnan(value).any():
            raise ReferenceError(f"PyTorch's {key} has NaN")
    if want.keys() != got.keys():
        missing, extra = sorted(want.keys() - got.keys()), sorted(got.keys() - want.keys())
        raise MismatchError(f"the structures differ: missing {missing[:5]}, in excess {extra[:5]}")
    worst = 0.0
    for key, value in want.items():
        worst = max(worst, _leaf(key, got[key], value, tolerance, (slack or {}).get(key, 0.0)))
    return Agreement(len(whole), worst)


def _leaf(key: str, got: Any, want: Any, tolerance: float, slack: float) -> float:
    """The difference of one leaf over what is allowed; raises MismatchError above 1."""
    if is_tensor(want) and is_tensor(got):
        if tuple(got.shape) != tuple(want.shape):
            raise MismatchError(f"{key}: shape {tuple(got.shape)}, not {tuple(want.shape)}")
        if _dtype(got) != _dtype(want):
            raise MismatchError(f"{key}: dtype {_dtype(got)}, not {_dtype(want)}")
    elif is_tensor(want) != is_tensor(got):
        raise MismatchError(f"{key}: {type(got).__name__}, not {type(want).__name__}")
    return arrays(key, array(got), array(want), tolerance, slack=slack)


def arrays(
    key: str, got: np.ndarray, want: np.ndarray, tolerance: float, scale: float = 1.0, slack: float = 0.0
) -> float:
    """max |got - want| over tolerance * max(scale, max |want|) or `slack`; raises MismatchError when above 1."""
    if got.shape != want.shape:
        raise MismatchError(f"{key}: shape {got.shape}, not {want.shape}")
    if not want.size:
        return 0.0
    if want.dtype.kind not in "fc":
        if not np.array_equal(got, want):
            share = np.mean(got != want)
            raise MismatchError(f"{key}: {share:.2%} of the {want.dtype} values differ")
        return 0.0
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        raise MismatchError(f"{key}: infinities or NaN stand elsewhere")
    if not finite.any():
        return 0.0
    a, b = got[finite].astype(np.complex128 if want.dtype.kind == "c" else np.float64), want[finite]
    difference, largest = float(np.abs(a - b).max()), float(np.abs(b).max())
    allowed = max(tolerance * max(scale, largest), slack)
    if not difference <= allowed:  # NaN comes here too
        raise MismatchError(
            f"{key}: differs by {difference:.3g} for values up to {largest:.3g}, allowed {allowed:.3g}",
            difference / allowed if allowed else np.inf,
        )
    return difference / allowed if allowed else 0.0


@dataclasses.dataclass(frozen=True)
class Measure:
    """How gradients are compared: `norm` of the difference <= tolerance * the norm of the parameter's own gradient.

    A gradient below `floor` times the model's largest is held against that instead: it is rounding and little else
    (a key bias before softmax has none in exact arithmetic).
    """

    tolerance: float
    floor: float
    norm: Callable[[np.ndarray], float]


def largest(x: np.ndarray) -> float:
    """max |x|, 0 without elements."""
    return float(np.abs(x).max(initial=0))


EXACT = Measure(1e-3, 1e-3, largest)


def gradients_of(model: Any) -> dict[str, np.ndarray]:
    """Parameter -> gradient, for those that have one."""
    return {n: array(p.grad).copy() for n, p in model.named_parameters() if p.grad is not None}


def gradients(
    got: dict[str, np.ndarray],
    want: dict[str, np.ndarray],
    measure: Measure = EXACT,
    slack: dict[str, float] | None = None,
) -> Agreement:
    """Compare the gradients of all parameters, ours and PyTorch's; `slack` allows more for single ones.

    A parameter without a gradient in PyTorch must have none, or zeros, here; and the reverse.
    """
    if not want:
        raise ReferenceError("PyTorch gives no gradient")
    biggest = max(measure.norm(g) for g in want.values())
    if not np.isfinite(biggest) or biggest == 0:
        raise ReferenceError(f"PyTorch's largest gradient is {biggest}")
    missing = sorted(n for n in want.keys() - got.keys() if np.any(want[n]))
    if missing:
        raise MismatchError(f"no gradient for {len(missing)} of {len(want)} parameters: {missing[:4]}")
    extra = sorted(n for n in got.keys() - want.keys() if np.any(got[n]))
    if extra:
        raise MismatchError(f"gradients for {len(extra)} parameters that have none in PyTorch: {extra[:4]}")
    worst, failures = 0.0, []
    for key in sorted(want.keys() & got.keys()):
        a, b = got[key], want[key]
        if a.shape != b.shape:
            raise MismatchError(f"gradient of {key}: shape {a.shape}, not {b.shape}")
        size = measure.norm(b)
        difference, allowed = measure.norm(a - b), measure.tolerance * max(size, biggest * measure.floor)
        allowed = max(allowed, (slack or {}).get(key, 0.0))
        if not difference <= allowed:  # NaN comes here too
            failures.append((difference / allowed, f"gradient of {key}: differs by {difference:.3g} of {size:.3g}"))
        worst = max(worst, difference / allowed)
    if failures:
        failures.sort(key=lambda f: -f[0])
        raise MismatchError(f"{len(failures)} of {len(want)} parameters; {failures[0][1]}", failures[0][0])
    return Agreement(len(want), worst)
