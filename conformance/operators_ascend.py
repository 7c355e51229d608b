"""What the stand-in's operators call on Ascend, read from their sources, and whether its documentation lists it.

Nothing here needs the hardware. From the syntax tree of an operator's implementation for "npu" (or for any device),
this follows the code that is reachable when ON_CPU is false and `host()` is false:

* functions and primitives of MindSpore: the APIs, with the "Supported Platforms" line of their docstrings
* other operators, called by name or as tensor methods: "by way of", followed in turn
* `memory()`, numpy on the tensor's values: "host", which means a copy to the CPU and back

It is an upper bound: a call in any reachable branch counts. Arithmetic by Python's operators is not listed.
"""

import ast
import functools
import re
import types
from pathlib import Path
from typing import Any

from hf_ascend.torch import Tensor, _registry
from hf_ascend.torch._ms import MsTensor, mint, ms

_HOST = {"memory", "scatter_flat", "to_real"}
"""Functions whose call means that values are read on the host."""
_FALSE_ON_ASCEND = {"host", "on_host"}
_OPAQUE = frozenset(
    """wrap cast dims raw_shape raw_dtype records is_tensor from_numpy lookup assign write host on_host
    readable capturing traced shape_args""".split()
)
"""Helpers of the stand-in that every operator uses; none computes, but for `cast`, which is ops.cast."""
_NO_OPERATORS = ("hf_ascend.torch._dtypes", "hf_ascend.torch._device", "hf_ascend.torch._size", "hf_ascend.torch._ms")
_MOVES = {
    "Tensor.from_numpy",
    "Tensor.from_dlpack",
    "Tensor.to_dlpack",
    "Tensor.data",
    "Tensor.is_contiguous",
    "Tensor.stride",
}
"""Methods that make or describe a tensor rather than compute."""


class _Found:
    """What one function refers to."""

    def __init__(self) -> None:
        self.apis: set[str] = set()
        self.operators: set[str] = set()
        self.host = False

    def take(self, other: "_Found") -> None:
        self.apis |= other.apis
        self.operators |= other.operators
        self.host = self.host or other.host


# ---- documentation
@functools.cache
def _method_docs() -> dict[str, str]:
    """The docstrings of tensor methods that MindSpore attaches from a file of their own."""
    import mindspore.common as common

    file = Path(str(common.__file__)).with_name("_tensor_docs.py")
    found = {}
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "attach_docstr" and len(node.args) == 2:
            name, text = node.args
            if isinstance(name, ast.Constant) and isinstance(text, ast.Constant):
                found[str(name.value)] = str(text.value)
    return found


@functools.cache
def platforms(api: str) -> tuple[str, ...] | None:
    """What the "Supported Platforms" line of an API such as "mint.add" lists; None when its docstring has none."""
    at: Any = ms
    for part in api.split("."):
        at = getattr(at, part, None)
    texts = [getattr(at, "__doc__", None) or ""]
    short = api.rpartition(".")[2]
    if api.startswith("Tensor."):
        texts.append(_method_docs().get(short, ""))
    for text in texts:
        lines = re.findall(r"Supported Platforms:\s*\n\s*(.*)", text)
        if lines:
            return tuple(sorted(set(re.findall(r"``(\w+)``", " ".join(lines)))))
    return None


# ---- syntax
@functools.cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_bytes())


def _nodes(code: types.CodeType) -> list[ast.AST]:
    """The syntax of a code object: functions by name and line, lambdas by line."""
    try:
        tree = _tree(code.co_filename)
    except (OSError, SyntaxError):
        return []
    lines = {code.co_firstlineno}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno in lines:
            found.append(node)
        elif isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first in lines:
                found.append(node)
    return found


def _static(test: ast.AST) -> bool | None:
    """A condition's value on Ascend, where its syntax tells."""
    if isinstance(test, ast.Name) and test.id == "ON_CPU":
        return False
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _static(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Call) and getattr(test.func, "id", "") in _FALSE_ON_ASCEND:
        return False
    if isinstance(test, ast.BoolOp):
        parts = [_static(v) for v in test.values]
        decisive = isinstance(test.op, ast.Or)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    return None


def _reachable(body: list[ast.stmt]) -> list[ast.AST]:
    """The statements and expressions of a block that Ascend can reach."""
    out: list[ast.AST] = []
    for statement in body:
        if isinstance(statement, ast.If):
            value = _static(statement.test)
            if value is None:
                out += [statement.test, *_reachable(statement.body), *_reachable(statement.orelse)]
                continue
            taken = statement.body if value else statement.orelse
            out += _reachable(taken)
            if taken and isinstance(taken[-1], (ast.Return, ast.Raise)):
                return out
            continue
        out.append(statement)
        if isinstance(statement, (ast.Return, ast.Raise)):
            return out
    return out


class _Reader(ast.NodeVisitor):
    """Collects what a function's reachable code refers to, in the function's own scope."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope, self.found, self.functions = scope, _Found(), []  # type: ignore[var-annotated]

    def visit_IfExp(self, node: ast.IfExp) -> None:
        value = _static(node.test)
        for part, wanted in ((node.body, value is not False), (node.orelse, value is not True)):
            if wanted:
                self.visit(part)
        if value is None:
            self.visit(node.test)

    def visit_If(self, node: ast.If) -> None:
        for part in _reachable([node]):
            if part is not node:
                self.visit(part)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts: list[str] = []
        at: ast.AST = node
        while isinstance(at, ast.Attribute):
            parts.insert(0, at.attr)
            at = at.value
        if isinstance(at, ast.Name) and at.id in self.scope:
            self._refer(self.scope[at.id], at.id, parts)
            return
        for part in parts:
            if f"Tensor.{part}" in _registry.NAMESPACE:
                self.found.operators.add(f"Tensor.{part}")
        self.visit(at)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.scope:
            self._refer(self.scope[node.id], node.id, [])

    def _refer(self, at: Any, name: str, parts: list[str]) -> None:
        if isinstance(at, _registry.Op):
            self.found.operators.add(at.name)
            return
        for part in parts:
            if isinstance(at, types.ModuleType) and at.__name__ in _NO_OPERATORS:
                return
            if isinstance(at, types.ModuleType) and at.__name__ == "hf_ascend.kernels":
                self.found.apis.add(f"kernels.{part}")
                return
            after = _attribute(at, part)
            if after is None:
                return
            if isinstance(after, _registry.Op):
                self.found.operators.add(after.name)
                return
            at = after
        if name in _HOST or (parts and parts[-1] in _HOST):
            self.found.host = True
        elif isinstance(at, types.FunctionType) and at.__module__.startswith("hf_ascend.torch"):
            if at.__name__ not in _OPAQUE and at.__module__ not in _NO_OPERATORS:
                self.functions.append(at)
        elif (api := _api(at, name, parts)) is not None and api not in _MOVES:
            self.found.apis.add(api)
        elif isinstance(at, type) and at.__module__.startswith("hf_ascend.torch._ops") and hasattr(at, "apply"):
            self.functions += [f.__func__ if hasattr(f, "__func__") else f for f in (at.forward, at.backward)]


def _attribute(at: Any, name: str) -> Any:
    """getattr that takes a part of the stand-in which does not import for None."""
    try:
        return getattr(at, name, None)
    except ImportError:
        return None


def _api(at: Any, name: str, parts: list[str]) -> str | None:
    """The public name of something of MindSpore's: "mint.add", "ops.MatMul", "Tensor.copy"."""
    module = getattr(at, "__module__", None) or ""
    if at in (ms, mint, MsTensor) or isinstance(at, (types.ModuleType, ms.Tensor, ms.Type)):
        return None
    if name == "MsTensor" and parts:
        return f"Tensor.{parts[0]}"
    if name in ("mint", "ops", "gen") and parts:
        return ".".join(("ops.auto_generate" if name == "gen" else name, *parts))
    if not module.startswith("mindspore"):
        return None
    if not isinstance(at, type) and not callable(at):
        return None
    if not hasattr(at, "__qualname__"):  # a primitive made at import: its class is the API
        return f"ops.{type(at).__name__}"
    return _public(at)


def _public(at: Any) -> str | None:
    """Where in `mint` or `ops` an object is, by identity."""
    for space, label in ((mint, "mint"), (mint.nn.functional, "mint.nn.functional"), (ms.ops, "ops")):
        for key in (getattr(at, "__name__", ""), getattr(at, "__name__", "").removesuffix("_ext")):
            if key and getattr(space, key, None) is at:
                return f"{label}.{key}"
    for key, value in _by_identity().get(id(at), ()):
        return f"{key}.{value}"
    return None


@functools.cache
def _by_identity() -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for space, label in ((mint, "mint"), (mint.nn.functional, "mint.nn.functional"), (ms.ops, "ops")):
        for key in dir(space):
            found.setdefault(id(getattr(space, key, None)), []).append((label, key))
    return found


def _scope(fn: types.FunctionType) -> dict[str, Any]:
    """Names as a function sees them: globals, closure, and parameters that have a function as default."""
    scope = dict(fn.__globals__)
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            scope[name] = cell.cell_contents
        except ValueError:
            continue
    for name in fn.__code__.co_varnames:
        scope.pop(name, None)
    count = fn.__code__.co_argcount
    defaults = fn.__defaults__ or ()
    given = dict(zip(fn.__code__.co_varnames[count - len(defaults) : count], defaults, strict=True))
    scope.update({n: d for n, d in (given | (fn.__kwdefaults__ or {})).items() if callable(d)})
    return scope


def _read(fn: Any, seen: set[Any]) -> _Found:
    """What a function refers to, and those of the stand-in's functions that it calls."""
    total = _Found()
    if not isinstance(fn, types.FunctionType):
        if (api := _api(fn, getattr(fn, "__name__", ""), [])) is not None:
            total.apis.add(api)
        return total
    if fn.__code__ in seen:
        return total
    seen.add(fn.__code__)
    known = vars(fn).get("hf_ascend_impl")
    if known is not None:
        total.operators.add(fn.__name__)
        return total
    for node in _nodes(fn.__code__):
        reader = _Reader(_scope(fn))
        body = [node.body] if isinstance(node, ast.Lambda) else _reachable(node.body)  # type: ignore[attr-defined]
        for part in body:
            reader.visit(part)
        total.take(reader.found)
        for called in reader.functions:
            total.take(_read(called, seen))
    return total


# ---- one operator
def _upstreams(name: str) -> types.FunctionType | None:
    """Upstream's own Python function of a name below nn.functional."""
    if not name.startswith("nn.functional."):
        return None
    import hf_ascend.torch.nn.functional as functional

    found = getattr(functional, name.removeprefix("nn.functional."), None)
    return found if isinstance(found, types.FunctionType) and found.__module__ == functional.__name__ else None


def implementation(name: str) -> tuple[str, Any]:
    """(how, function) of an operator on Ascend: "registered", "own method", "mirror" of mint, "upstream" or "none"."""
    place = name if name in _registry.REGISTRY else name.removeprefix("Tensor.")
    short = name.removeprefix("nn.functional.")
    candidates = (place, place.removesuffix("_"), "Tensor." + place.removesuffix("_"))
    for candidate in (*candidates, *([short, f"_C._nn.{short}"] if short != name and not _upstreams(name) else [])):
        o = _registry.REGISTRY.get(candidate)
        if o is not None and ("npu" in o.impls or "any" in o.impls):
            return "registered", o.impls.get("npu", o.impls.get("any"))
    if name.startswith("Tensor.") and name[7:] in vars(Tensor):
        own = vars(Tensor)[name[7:]]
        own = own.fget if isinstance(own, property) else own
        if (
            isinstance(own, types.FunctionType)
            and not hasattr(own, "hf_ascend_deferred")
            and "hf_ascend_impl" not in vars(own)
        ):
            return "own method", own
    if (found := _upstreams(name)) is not None:
        return "upstream", found
    mirror = _registry._mint_function(name)
    if mirror is not None and callable(mirror):
        return "mirror", mirror
    found = getattr(__import__("hf_ascend.torch", fromlist=["x"]), name, None) if "." not in name else None
    if isinstance(found, types.FunctionType) and "hf_ascend_impl" not in vars(found):
        return "own function", found
    return "none", None


@functools.cache
def _one(name: str) -> tuple[str, _Found]:
    how, fn = implementation(name)
    if how == "none":
        return how, _Found()
    if how == "mirror":
        found = _Found()
        found.apis.add(_public(fn) or f"mint.{name}")
        return how, found
    if how == "upstream":
        return how, _upstream(fn)
    found = _read(fn, set())
    found.operators.discard(name)
    return how, found


def _upstream(fn: types.FunctionType) -> _Found:
    """Operators that one of upstream's Python functions names: `torch.x`, `_C._nn.x`, and tensor methods."""
    found = _Found()
    for node in _nodes(fn.__code__):
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute):
                text = ast.unparse(part).removeprefix("torch.")
                if text in _registry.REGISTRY:
                    found.operators.add(text)
                elif (
                    isinstance(part.value, ast.Name)
                    and part.value.id in ("input", "x", "output", "result")
                    and f"Tensor.{part.attr}" in _registry.NAMESPACE
                ):
                    found.operators.add(f"Tensor.{part.attr}")
    return found


def describe(name: str) -> dict[str, Any]:
    """What an operator calls on Ascend.

    "how" it is implemented, "apis" {API: platforms}, "by_way_of" other operators, "host" whether values are read on
    the host, "not_listed": APIs (those of the other operators too) whose documentation lists platforms without Ascend,
    "undocumented": those whose documentation lists none.
    """
    how, found = _one(name)
    through, todo = {name}, sorted(found.operators)
    apis, host = set(found.apis), found.host
    while todo:
        other = todo.pop()
        if other in through:
            continue
        through.add(other)
        _, more = _one(other)
        apis |= more.apis
        host = host or more.host
        todo += sorted(more.operators - through)
    absent = sorted(a for a in apis if not a.startswith("kernels.") and "Ascend" not in (platforms(a) or ("Ascend",)))
    silent = sorted(a for a in apis if not a.startswith("kernels.") and platforms(a) is None)
    return {
        "how": how,
        "apis": {a: list(platforms(a) or ()) for a in sorted(found.apis)},
        "by_way_of": sorted(o.removeprefix("Tensor.") for o in found.operators),
        "host": host,
        "not_listed": absent,
        "undocumented": silent,
    }
