"""Contracts: what an operator or a kernel's face accepts, declared once as data and checked before the call.

A layout is a string of size names, one per dimension: "B N1 Sq D". The same name must have the same size in
all arguments; "N1|1" also takes 1 (broadcast); a number stands for itself; a leading "*" stands for any dimensions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

HALF = ("float16", "bfloat16")
FLOAT = ("float16", "bfloat16", "float32")
_MOST_KEPT = 512


class ContractError(Exception):
    """An operator was about to be called outside its contract. The message names operator, argument and limit."""


@dataclass(frozen=True)
class Arg:
    """One tensor argument: the layouts and dtypes it may have."""

    layouts: tuple[str, ...]
    dtypes: tuple[str, ...] = HALF
    optional: bool = False
    meaning: str = ""
    """What values mean, where that is not obvious: a mask's polarity, say."""

    @cached_property
    def parsed(self) -> tuple[tuple[bool, tuple[tuple[str, bool], ...]], ...]:
        """(open to the left, ((size name, whether 1 will do), ...)) per layout."""
        made = []
        for layout in self.layouts:
            words = layout.split()
            left = words[:1] == ["*"]
            made.append((left, tuple((w.removesuffix("|1"), w.endswith("|1")) for w in words[left:])))
        return tuple(made)


@dataclass(frozen=True)
class Size:
    """Limits of one named size."""

    multiple: int = 1
    minimum: int = 1
    maximum: int = 2**31 - 1


@dataclass(frozen=True)
class Contract:
    """What one operator accepts; `check` says why a call is outside it.

    `multiples` holds (a, b): size a is a multiple of size b. `options` holds the values that a keyword may have.
    `same_dtype` names arguments that share one dtype. `source` says where this is documented.
    """

    name: str
    args: Mapping[str, Arg]
    sizes: Mapping[str, Size] = field(default_factory=dict)
    multiples: tuple[tuple[str, str], ...] = ()
    same_dtype: tuple[str, ...] = ()
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    differentiable: bool = True
    outputs: tuple[str, ...] = ()
    """Layout and dtype of each output, in order: "B N1 Sq 8 float32"; a dtype "=query" is that argument's."""
    trailing: tuple[str, ...] = ()
    """Options that the operator takes after its tensors, not at construction."""
    rule: Callable[[dict[str, tuple[int, ...]], Mapping[str, Any]], str | None] | None = None
    """What the fields above cannot say: from shapes by argument and the options, a reason against the call or None."""
    _kept: dict[Any, str | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    source: str = ""

    def check(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> str | None:
        """None if the call (positional tensors, keyword options) fits, else the reason in words.

        Reads no value, so it neither waits for the device nor copies. Layers repeat their shapes: verdicts are kept.
        """
        if not self.differentiable and recording(args):
            return "gradients are recorded, and it has none"
        for name in options:
            if name in self.args:
                return f"{name} is to be passed by position"
        dtype_of, shape_of = (_raw or _bind())[:2]
        key = (*((None if a is None else (dtype_of(a), tuple(shape_of(a)))) for a in args), *options.items())
        kept = self._kept
        if key not in kept:
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            kept[key] = self._judge(args, options)
        return kept[key]

    def _judge(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> str | None:
        sizes: dict[str, int] = {}
        dtypes: dict[str, str] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for (name, arg), value in zip(self.args.items(), args, strict=False):
            if value is None:
                if not arg.optional:
                    return f"{name} is missing"
                continue
            dtypes[name] = dtype = dtype_name(value)
            if dtype not in arg.dtypes:
                return f"{name} is {dtype}, takes {' or '.join(arg.dtypes)}"
            shapes[name] = shape = tuple(shape_of(value))
            if not any(_fits(shape, layout, sizes) for layout in arg.parsed):
                known = {k: v for k, v in sizes.items() if any(k in layout for layout in arg.layouts)}
                return f"{name} has shape {shape}, takes ({') or ('.join(arg.layouts)}) with {known}"
        for name, limit in self.sizes.items():
            n = sizes.get(name)
            if n is not None and (n % limit.multiple or not limit.minimum <= n <= limit.maximum):
                wanted = f"a multiple of {limit.multiple} from {limit.minimum} to {limit.maximum}"
                return f"size {name} is {n}, takes {wanted}"
        for a, b in self.multiples:
            if a in sizes and b in sizes and (not sizes[b] or sizes[a] % sizes[b]):
                return f"size {a} ({sizes[a]}) is no multiple of {b} ({sizes[b]})"
        if len({dtypes[n] for n in self.same_dtype if n in dtypes}) > 1:
            return "dtypes differ: " + ", ".join(f"{n} {dtypes[n]}" for n in self.same_dtype if n in dtypes)
        for name, allowed in self.options.items():
            if name in options and options[name] not in allowed:
                return f"{name}={options[name]!r} is not among {allowed}"
        return None if self.rule is None else self.rule(shapes, options)

    def require(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """Raises ContractError unless the call fits."""
        why = self.check(args, options)
        if why is not None:
            raise ContractError(f"{self.name}: {why} (contract: {self.source or 'see hf_ascend.kernels'})")


def _fits(shape: tuple[int, ...], layout: tuple[bool, tuple[tuple[str, bool], ...]], sizes: dict[str, int]) -> bool:
    """Whether `shape` has the layout given the sizes known so far; adds the sizes it fixes if so."""
    left, names = layout
    if len(shape) < len(names) if left else len(shape) != len(names):
        return False
    found: dict[str, int] = {}
    for n, (name, one) in zip(shape[len(shape) - len(names) :], names, strict=True):
        if one and n == 1:
            continue
        known = int(name) if name.isdigit() else sizes.get(name, found.get(name))
        if known is None:
            found[name] = n
        elif known != n:
            return False
    sizes.update(found)
    return True


_raw: Any = None


def _bind() -> Any:
    global _raw
    from hf_ascend.torch import _dtypes, _inplace, _ms

    names = {ms: d.name for ms, d in _dtypes.BY_MS.items()}
    _raw = (_ms.raw_dtype, _ms.raw_shape, names, _inplace.records)
    return _raw


def dtype_name(x: Any) -> str:
    """torch's name of a tensor's dtype."""
    raw = _raw or _bind()
    return raw[2].get(raw[0](x), "unknown")


def shape_of(x: Any) -> tuple[int, ...]:
    """A tensor's shape."""
    return (_raw or _bind())[1](x)


def recording(args: tuple[Any, ...]) -> bool:
    """Whether a call on `args` becomes part of the autograd graph."""
    return (_raw or _bind())[3](*args)
