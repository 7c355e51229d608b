"""Scans a package's sources for the torch names and tensor methods they use, and looks each up in the stand-in.

1. `scan` reads the sources: dotted names below torch (through the file's own import aliases) and methods that a
   torch.Tensor has, called on anything.
2. `status` asks the stand-in for each: "native", "fallback" (PyTorch's CPU operator), "absent" (belongs to another
   device or compiler, and says so when used) or "missing".
3. `summary` counts. The counts of the installed transformers are kept in coverage.json; a test lets them only improve.

The scan sees names, not types: `x.add(...)` on a set counts as the tensor method. So the method counts are an upper
bound of what is used, and "native" says that a name has an implementation, not that each of its options does.
"""

import ast
import builtins
import collections
import functools
import importlib
import importlib.util
import json
import types
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("coverage.json")
STATES = ("native", "fallback", "absent", "missing")


class _Names(ast.NodeVisitor):
    """Collects from one file: `names` below torch, and attributes called as `methods`."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.names: collections.Counter[str] = collections.Counter()
        self.methods: collections.Counter[str] = collections.Counter()

    def visit_Import(self, node: ast.Import) -> None:
        for a in node.names:
            if a.name.split(".")[0] == "torch":
                self.aliases[a.asname or "torch"] = a.name if a.asname else "torch"

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and node.module and node.module.split(".")[0] == "torch":
            for a in node.names:
                self.aliases[a.asname or a.name] = f"{node.module}.{a.name}"
                self.names[f"{node.module}.{a.name}"] += 1

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, at = [], node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value  # type: ignore[assignment]
        if isinstance(at, ast.Name) and at.id in self.aliases:
            self.names[".".join((self.aliases[at.id], *reversed(parts)))] += 1
            return
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        f = node.func
        if isinstance(f, ast.Attribute) and not (isinstance(f.value, ast.Name) and f.value.id in self.aliases):
            self.methods[f.attr] += 1
        self.generic_visit(node)


def sources(package: str) -> list[Path]:
    """The Python files of an installed package; raises ModuleNotFoundError when there is none of that name."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no installed package {package!r} to scan", name=package)
    return sorted(Path(spec.origin).parent.rglob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]


def scan(package: str) -> tuple[dict[str, int], dict[str, int]]:
    """(torch name -> files that use it, tensor method -> files that call it), torch names without the leading "torch."."""  # noqa: E501
    import torch as real

    names: collections.Counter[str] = collections.Counter()
    methods: collections.Counter[str] = collections.Counter()
    for file in sources(package):
        found = _Names()
        found.visit(ast.parse(file.read_bytes(), str(file)))
        names.update(_existing(real, n) for n in {*found.names})
        methods.update(m for m in found.methods if hasattr(real.Tensor, m) and not m.startswith("__"))
    names.pop("", None)
    return dict(names), dict(methods)


def _existing(real: Any, name: str) -> str:
    """The part of a dotted name that PyTorch has: attributes of what it names are not its own names."""
    parts, at = name.split(".")[1:], real
    if parts[:1] in (["ops"], ["classes"]):
        return ""  # PyTorch's dispatcher: any attribute is a lookup of an operator that somebody else registers
    for i, part in enumerate(parts):
        if isinstance(at, type) or not hasattr(at, part):
            return ".".join(parts[:i]) if i and not isinstance(at, types.ModuleType) else ""
        at = getattr(at, part)
    return "" if isinstance(at, types.ModuleType) else ".".join(parts)


def _is_fallback(fn: Any) -> bool:
    from hf_ascend.torch import _fallback

    impl = vars(fn).get("hf_ascend_impl") if isinstance(fn, types.FunctionType) else None
    if isinstance(impl, functools.partial):
        return impl.func is _fallback.run
    if impl is not None and impl is not fn:
        return _is_fallback(impl)
    return (
        isinstance(fn, types.FunctionType) and fn.__module__ == "hf_ascend.torch.nn.functional" and _calls_fallback(fn)
    )


def _calls_fallback(fn: types.FunctionType) -> bool:
    """Whether one of upstream's Python functions rests on an operator that falls back."""
    import torch as real

    from hf_ascend.torch import _registry

    for name in fn.__code__.co_names:
        for place in (f"_C._nn.{name}", name):
            theirs: Any = real
            for part in place.split("."):
                theirs = getattr(theirs, part, None)
            # A plain name may also be Python's own (`range`) or a method (`x.detach()`): the bytecode does not tell.
            other = place == name and (hasattr(builtins, name) or status(f"Tensor.{name}") == "native")
            if place not in _registry.NAMESPACE and type(theirs) is types.BuiltinFunctionType and not other:
                return _is_fallback(_registry.lookup(place))
    return False


def status(name: str) -> str:
    """One of STATES for a dotted name below torch, such as "nn.functional.gelu" or "Tensor.sort"."""
    from hf_ascend import torch
    from hf_ascend.retarget.finder import AbsentType
    from hf_ascend.torch import _registry

    if name.startswith("Tensor."):
        try:
            found: Any = vars(torch.Tensor).get(name[7:])
            if found is None and callable(getattr(torch.Tensor, name[7:], None)):
                return "native"  # inherited from mindspore.Tensor, which gives it the same meaning
            if found is None or hasattr(found, "hf_ascend_deferred"):
                found = _registry.lookup(name)
        except AttributeError:
            return "native" if hasattr(torch.Tensor, name[7:]) else "missing"
        return "fallback" if _is_fallback(found) else "native"
    found = torch
    for i, part in enumerate(name.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(("hf_ascend.torch", *name.split(".")[: i + 1])))
            except ImportError:
                return "missing"
    if isinstance(found, AbsentType):
        return "absent"
    return "fallback" if _is_fallback(found) else "native"


def report(package: str) -> dict[str, dict[str, list[str]]]:
    """{"names" | "methods": {state: names, most used first}} of one package."""
    names, methods = scan(package)
    made: dict[str, dict[str, list[str]]] = {}
    for kind, found, prefix in (("names", names, ""), ("methods", methods, "Tensor.")):
        by_state: dict[str, list[str]] = {s: [] for s in STATES}
        for name in sorted(found, key=lambda n: (-found[n], n)):
            by_state[status(prefix + name)].append(name)
        made[kind] = by_state
    return made


def summary(found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, int]]:
    """The counts of a report."""
    return {kind: {s: len(names) for s, names in by_state.items()} for kind, by_state in found.items()}


def worse_than_baseline(found: dict[str, dict[str, list[str]]]) -> list[str]:
    """What a report of transformers lost against coverage.json: names that were native, or were there at all."""
    order = {s: i for i, s in enumerate(STATES)}
    before = json.loads(BASELINE.read_text())
    lost = []
    for kind, by_state in found.items():
        now = {n: s for s, names in by_state.items() for n in names}
        for state, names in before[kind].items():
            lost += [
                f"{kind}: {n} was {state}, is {now[n]}" for n in names if n in now and order[now[n]] > order[state]
            ]
    return lost


def save_baseline(found: dict[str, dict[str, list[str]]]) -> None:
    """Keep a report of transformers as the state below which coverage must not fall."""
    BASELINE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
