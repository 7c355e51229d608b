"""Rewrites the imports of an executed module so that they reach the retargeted packages.

Only the syntax tree changes, in place, so file names and line numbers in tracebacks stay upstream's.

======================================  ==================================================
`import torch`                          `from hf_ascend import torch`
`import torch.nn as nn`                 `import hf_ascend.torch.nn as nn`
`import torch.utils.checkpoint`         the same import, and `torch` bound as above
`from torch.nn import Linear`           `from hf_ascend.torch.nn import Linear`
`import_module("transformers.models")`  `import_module("hf_ascend.transformers.models")`
`import_module(name)`                   `import_module(retargeted(name))`, with `retargeted` below
`x.startswith("transformers.")`         `x.startswith(("transformers.", "hf_ascend.transformers."))`
`sys.modules.get("transformers")`       `sys.modules.get("hf_ascend.transformers")`
======================================  ==================================================
"""

import ast
import re
from collections.abc import Collection
from typing import Any

PREFIX = "hf_ascend."


class _Rewriter(ast.NodeTransformer):
    def __init__(self, packages: Collection[str], strings: str | None):
        self.packages = frozenset(packages)
        self.strings = re.compile(strings) if strings else None

    def _is_ours(self, name: str) -> bool:
        return name.split(".", 1)[0] in self.packages

    def visit_Import(self, node: ast.Import) -> ast.AST | list[ast.AST]:
        if not any(self._is_ours(a.name) for a in node.names):
            return node
        out: list[ast.AST] = []
        for alias in node.names:
            top, _, rest = alias.name.partition(".")
            if top not in self.packages:
                out.append(ast.Import([alias]))
            elif not rest:
                out.append(ast.ImportFrom(PREFIX[:-1], [ast.alias(top, alias.asname)], 0))
            elif alias.asname:
                out.append(ast.Import([ast.alias(PREFIX + alias.name, alias.asname)]))
            else:
                out.append(ast.Import([ast.alias(PREFIX + alias.name, "__hf_ascend_import__")]))
                out.append(ast.ImportFrom(PREFIX[:-1], [ast.alias(top)], 0))
        return [ast.fix_missing_locations(ast.copy_location(n, node)) for n in out]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.level == 0 and node.module and self._is_ours(node.module):
            node.module = PREFIX + node.module
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name == "import_module":
            node.args = [self._name_at_run_time(self._module_name(a)) for a in node.args]
        elif isinstance(node.func, ast.Attribute) and _is_sys_modules(node.func.value) and node.args:
            node.args[0] = self._module_name(node.args[0])
        elif name == "startswith" and len(node.args) == 1:
            arg = node.args[0]
            if isinstance(arg, ast.Constant) and isinstance(arg.value, str) and arg.value[:-1] in self.packages:
                both = ast.Tuple([arg, ast.Constant(PREFIX + arg.value)], ast.Load())
                node.args = [ast.fix_missing_locations(ast.copy_location(both, arg))]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if _is_sys_modules(node.value):
            node.slice = self._module_name(node.slice)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)) and _is_sys_modules(node.comparators[0]):
            node.left = self._module_name(node.left)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if self.strings and isinstance(node.value, str) and self.strings.fullmatch(node.value):
            return ast.copy_location(ast.Constant(PREFIX + node.value), node)
        return node

    def _module_name(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and self._is_ours(node.value):
            return ast.copy_location(ast.Constant(PREFIX + node.value), node)
        if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
            node.values[0] = self._module_name(node.values[0])
        return node

    @staticmethod
    def _name_at_run_time(node: ast.expr) -> ast.expr:
        """`retargeted(node)`, unless the text says what it starts with."""
        first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        if isinstance(first, (ast.Constant, ast.Starred)):
            return node
        helper = ast.parse(f"__import__({__name__!r}, fromlist=['retargeted']).retargeted", mode="eval").body
        call = ast.Call(helper, [node], [])
        for part in (call, *ast.walk(helper)):
            ast.copy_location(part, node)
        return call


def retargeted(name: Any) -> Any:
    """The name by which executed code imports the module `name`; what is no name of a retargeted package stays."""
    from hf_ascend.retarget.rules import PACKAGES

    return PREFIX + name if isinstance(name, str) and name.partition(".")[0] in PACKAGES else name


def _is_sys_modules(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "modules" and getattr(node.value, "id", "") == "sys"


def rewrite(source: bytes | str, filename: str, packages: Collection[str], strings: str | None = None) -> ast.Module:
    """Parse `source` and retarget its imports of `packages`.

    `strings` is a regular expression; string literals that match it whole are module names and follow
    their modules. Raises SyntaxError as `compile` does.
    """
    tree = compile(source, filename, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    return _Rewriter(packages, strings).visit(tree)
