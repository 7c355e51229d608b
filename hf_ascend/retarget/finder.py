"""The import hook behind `hf_ascend.<package>`: finds a module's verdict and carries it out.

A suffix serves the replacements: `hf_ascend.torch.nn.modules.module__upstream` is upstream's source of a
module that a shim replaces, executed, so that the shim can build on it.
"""

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from hf_ascend.retarget import rules
from hf_ascend.retarget.cache import cached_code
from hf_ascend.retarget.rewrite import PREFIX, rewrite
from hf_ascend.retarget.rules import PACKAGES, Verdict
from hf_ascend.runtime import environment

UPSTREAM = "__upstream"


@functools.cache
def shims_dir() -> Path:
    """The folder of the stand-ins, in a checkout and in an installed wheel alike."""
    inside = Path(__file__).resolve().parent.parent / "shims"
    return inside if inside.is_dir() else inside.parent.parent / "shims"


_roots: dict[str, Path] = {}


def _root(package: str) -> Path | None:
    """The folder of an installed package; only what is found is remembered, because packages can appear."""
    if package not in _roots:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.origin:
            return None
        _roots[package] = Path(spec.origin).parent
    return _roots[package]


def _source_file(root: Path, module: str) -> tuple[str, bool] | None:
    """(file, is_package) of the dotted `module` below `root`."""
    base = os.path.join(root, *module.split(".")) if module else str(root)
    for file, is_package in ((os.path.join(base, "__init__.py"), True), (base + ".py", False)):
        if os.path.isfile(file):
            return file, is_package
    return None


def upstream_file(package: str, module: str) -> tuple[str, bool] | None:
    """(file, is_package) of upstream's source of `package`.`module`, or None."""
    root = _root(package)
    return None if root is None else _source_file(root, module)


@functools.cache
def _own_sources() -> str:
    here = Path(__file__).parent
    return "".join((here / f).read_text(encoding="utf-8") for f in ("rules.py", "rewrite.py"))


def _salt() -> str:
    """Stands for everything beside the source that decides what the compiled code is."""
    return _own_sources() + ",".join(sorted(PACKAGES))


class ExecutingLoader(importlib.machinery.SourceFileLoader):
    """Runs upstream's source with its imports retargeted."""

    def __init__(self, fullname: str, path: str, strings: str | None = None):
        super().__init__(fullname, path)
        self.strings = strings

    def get_code(self, fullname: str) -> CodeType:
        """The module's rewritten code, from the cache if it is there."""

        def build() -> CodeType:
            return self.source_to_code(self.get_data(self.path), self.path)

        return cached_code(self.path, _salt() + str(self.strings), build)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; the first of transformers says when that release is an untested one."""
        if module.__name__ == PREFIX + "transformers":
            environment.warn_untested("transformers", rules.release_of("transformers"))
        super().exec_module(module)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        """Rewrite and compile."""
        tree = rewrite(data, os.fspath(path), PACKAGES, self.strings)
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class AliasLoader(importlib.abc.Loader):
    """Makes a name stand for an existing module, which stays as it is.

    The import system writes `__spec__` and other attributes on what `create_module` returns; handing it
    the real module would change that module. So it gets an empty one, and sys.modules the real one.
    """

    def __init__(self, target: str):
        self.target = target

    def exec_module(self, module: ModuleType) -> None:
        """Let the name stand for the real module."""
        sys.modules[module.__name__] = importlib.import_module(self.target)


class AbsentType(type):
    """The class of placeholders: any attribute is another one, nothing is an instance of one."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return placeholder(f"{cls.__qualname__}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an instance of a user's subclass; a placeholder itself says why it cannot be used."""
        if "__absent__" not in vars(cls):
            return super().__call__(*args, **kwargs)
        raise NotImplementedError(f"{cls.__qualname__} is not available on MindSpore: {cls.__absent__}")

    def __instancecheck__(cls, x: object) -> bool:
        return "__absent__" not in vars(cls) and super().__instancecheck__(x)


def placeholder(name: str, why: str = "it belongs to another device or compiler") -> AbsentType:
    """A name that can be mentioned, compared and subclassed, and raises NotImplementedError when called."""
    return AbsentType(name.rpartition(".")[2], (), {"__absent__": why, "__qualname__": name})


class AbsentLoader(importlib.abc.Loader):
    """Makes a module of placeholders."""

    def __init__(self, why: str):
        self.why = why

    def exec_module(self, module: ModuleType) -> None:
        """Give the empty module an attribute for every name."""
        """Give the empty module an attribute for every name."""
        shown = module.__name__.removeprefix(PREFIX)

        def missing(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return placeholder(f"{shown}.{name}", self.why)

        module.__getattr__ = missing  # type: ignore[method-assign]


class RetargetFinder(importlib.abc.MetaPathFinder):
    """Finds `hf_ascend.<package>...`, and `hf_ascend.shims.<package>...` as another name for the stand-ins."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a retargeted name; None for every other."""
        if not fullname.startswith(PREFIX):
            return None
        name = fullname[len(PREFIX) :]
        package, _, module = name.partition(".")
        if package == "shims" and module.partition(".")[0] in PACKAGES:
            return importlib.machinery.ModuleSpec(fullname, AliasLoader(PREFIX + module))
        if package not in PACKAGES:
            return None
        return self._find(fullname, package, module)

    def _find(self, fullname: str, package: str, module: str) -> importlib.machinery.ModuleSpec | None:
        wants_upstream = module.endswith(UPSTREAM)
        module = module.removesuffix(UPSTREAM)
        if not wants_upstream and (found := _source_file(shims_dir() / package, module)):
            loader: importlib.abc.Loader = importlib.machinery.SourceFileLoader(fullname, found[0])
            return _spec(fullname, loader, found)
        upstream = upstream_file(package, module)
        if upstream is None:
            return self._without_source(fullname, package, module)
        rule = PACKAGES[package]
        given = (
            Verdict.EXECUTED
            if wants_upstream
            else rules.verdict(rule, module, upstream[1], lambda: Path(upstream[0]).read_text(encoding="utf-8"))
        )
        if given is Verdict.SHARED:
            return importlib.machinery.ModuleSpec(fullname, AliasLoader(f"{package}.{module}"))
        if given is Verdict.ABSENT:
            return importlib.machinery.ModuleSpec(fullname, AbsentLoader(rules.reason(rule, module)), is_package=True)
        if given is Verdict.EXECUTED:
            strings = rule.strings.get(module)
            return _spec(fullname, ExecutingLoader(fullname, upstream[0], strings), upstream)
        return None

    @staticmethod
    def _without_source(fullname: str, package: str, module: str) -> importlib.machinery.ModuleSpec | None:
        """Extension modules (safetensors' Rust core, say) know no torch and are shared."""
        if package == "torch":
            why = rules.reason(PACKAGES[package], module, Verdict.ABSENT)
            return importlib.machinery.ModuleSpec(fullname, AbsentLoader(why), is_package=True) if why else None
        if not module or _root(package) is None:
            return None
        if importlib.util.find_spec(f"{package}.{module}") is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, AliasLoader(f"{package}.{module}"))


def _spec(fullname: str, loader: importlib.abc.Loader, found: tuple[str, bool]) -> importlib.machinery.ModuleSpec:
    file, is_package = found
    locations = [os.path.dirname(file)] if is_package else None
    spec = importlib.util.spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=locations)
    assert spec is not None
    return spec


def install() -> None:
    """Put the finder in front of the import system's own; a second call does nothing."""
    if not any(isinstance(f, RetargetFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, RetargetFinder())
