"""`hf-ascend run`: an unmodified script, or module, with its imports of the retargeted packages redirected.

1. `_parse`         the command's own arguments; everything after the script's name belongs to the script.
2. `LocalFinder`    the modules beside the script are executed like upstream's: same file, same lines.
3. `run_path` and `run_module`  make `__main__`, as `python script.py` and `python -m module` do.
4. `run`            carries that out, and leaves as Python does: the script's exit code, its own traceback.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from hf_ascend.retarget import rules
from hf_ascend.retarget.finder import ExecutingLoader, install, upstream_file
from hf_ascend.retarget.rewrite import PREFIX
from hf_ascend.retarget.rules import PACKAGES

USAGE = """\
usage: hf-ascend run [--retarget PACKAGE]... [--report FILE] script.py [arguments]
       hf-ascend run [--retarget PACKAGE]... [--report FILE] -m module [arguments]

Runs an unmodified script with torch, transformers, accelerate, peft, trl and safetensors on MindSpore, for the
script and the modules in its folder. --retarget names one more installed package that imports them. --report draws
the curves of what a Trainer trains into an .html or .png file.
"""


class UsageError(Exception):
    """The command line cannot be carried out; the message says why."""


class LocalFinder(importlib.abc.MetaPathFinder):
    """Finds the modules in the script's own folder, and below its packages, to be executed retargeted."""

    def __init__(self, folder: str):
        self.folder = folder
        self.packages: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a local module; None for every other."""
        parent, _, _ = fullname.rpartition(".")
        if parent and parent not in self.packages:
            return None
        if not parent and (fullname == PREFIX[:-1] or fullname in sys.builtin_module_names):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path if parent else [self.folder], target)
        if spec is None:
            return None
        if spec.submodule_search_locations is not None:
            if spec.loader is None and not parent and not _is_plain_folder(spec):
                return None
            self.packages.add(fullname)
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader) and spec.origin:
            spec.loader = ExecutingLoader(fullname, spec.origin)
        return spec


def _is_plain_folder(spec: importlib.machinery.ModuleSpec) -> bool:
    """Whether a folder without __init__.py stands for a package: only where nothing installed has its name."""
    rest = [p for p in sys.path[1:] if p]
    return importlib.machinery.PathFinder.find_spec(spec.name, rest) is None


def _parse(argv: Sequence[str]) -> tuple[str | None, str | None, list[str], list[str], str]:
    """(script, module, its arguments, packages to retarget in addition, the report's file or "")."""
    rest, extra, report = list(argv), list[str](), ""
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("--retarget", "--report", "-m"):
            if not rest:
                raise UsageError(f"{option} needs a name")
            value = rest.pop(0)
        elif option.startswith(("--retarget=", "--report=")):
            option, _, value = option.partition("=")
        elif option == "--":
            break
        else:
            raise UsageError(f"unknown option {option!r}")
        if option == "-m":
            return None, value, rest, extra, report
        if option == "--report":
            report = value
        else:
            extra.append(value)
    if not rest:
        raise UsageError("which script? Give a file, or -m and a module")
    return rest[0], None, rest[1:], extra, report


def _ask_for_report(path: str) -> None:
    """Have each Trainer write a report. What would only fail at the end of a training is told now."""
    from hf_ascend.training import drawing

    try:
        drawing.require_matplotlib()
        os.environ["HF_ASCEND_REPORT"] = str(drawing.check_path(path).absolute())  # the script may change its folder
    except (ImportError, ValueError, OSError) as error:
        raise UsageError(f"--report: {error}") from error


def _new_main(loader: object, file: str, spec: importlib.machinery.ModuleSpec | None) -> ModuleType:
    main = ModuleType("__main__")
    main.__file__ = file
    main.__loader__ = loader  # type: ignore[assignment]
    main.__spec__ = spec
    main.__dict__["__builtins__"] = __builtins__
    main.__dict__["__cached__"] = None
    main.__package__ = spec.parent if spec else None
    sys.modules["__main__"] = main
    return main


def run_path(script: str, argv: Sequence[str]) -> None:
    """Execute the file `script`, or the folder that has a `__main__.py`, as `__main__`; `argv` follows it in sys.argv.

    Raises UsageError when there is no such file, and whatever the script raises.
    """
    file = os.path.join(script, "__main__.py") if os.path.isdir(script) else script
    if not os.path.isfile(file):
        raise UsageError(f"no such file: {file}")
    folder = os.path.abspath(script) if os.path.isdir(script) else os.path.dirname(os.path.realpath(file))
    sys.argv[:] = [script, *argv]
    sys.path[0:0] = [folder]
    sys.meta_path.insert(0, LocalFinder(folder))
    loader = ExecutingLoader("__main__", os.path.abspath(file))
    _execute(lambda: loader.get_code("__main__"), loader, os.path.abspath(file), None)


def run_module(module: str, argv: Sequence[str]) -> None:
    """Execute `module` as `python -m` does, from the current folder or installed; an installed one is retargeted.

    Raises UsageError when there is no such module, and whatever it raises.
    """
    folder = os.getcwd()
    sys.path[0:0] = [folder]
    sys.argv[:] = ["-m", *argv]
    local = LocalFinder(folder)
    sys.meta_path.insert(0, local)
    name = _name_of(module, local)
    spec = _find(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"
        spec = _find(name)
    file = _source_of(name, spec)
    if spec is None or file is None:
        raise UsageError(
            f"no module named {module!r} that can be run (looked in {folder} and among installed packages)"
        )
    sys.argv[0] = file
    loader = ExecutingLoader(name, file)
    _execute(lambda: loader.get_code(name), loader, file, importlib.machinery.ModuleSpec(name, loader, origin=file))


def _name_of(module: str, local: LocalFinder) -> str:
    """The name under which `module` is imported retargeted."""
    top = module.partition(".")[0]
    if top not in PACKAGES:
        installed = local.find_spec(top) is None and importlib.util.find_spec(top)
        if not installed or installed.submodule_search_locations is None:
            return module  # a file of the user's, or a module that is a single file
        rules.add_package(top)
    return PREFIX + module


def _source_of(name: str, spec: importlib.machinery.ModuleSpec | None) -> str | None:
    if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        return spec.origin
    top, _, rest = name.removeprefix(PREFIX).partition(".")  # a shared module is executed too when it is what runs
    found = upstream_file(top, rest) if name.startswith(PREFIX) else None
    return found[0] if found else None


def _find(module: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            return None
        raise


def _execute(
    code: Callable[[], CodeType], loader: object, file: str, spec: importlib.machinery.ModuleSpec | None
) -> None:
    main = _new_main(loader, file, spec)
    exec(code(), main.__dict__)


def _own_traceback(error: BaseException) -> TracebackType | None:
    """The traceback without this package's machinery in front of the script's frames."""
    here, trace = Path(__file__).resolve().parent, error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename.startswith(("<frozen importlib", "<frozen runpy"))
        or here in Path(trace.tb_frame.f_code.co_filename).parents
    ):
        trace = trace.tb_next
    return trace


def run(argv: Sequence[str]) -> int:
    """`hf-ascend run` with the arguments `argv`. Returns the exit code; SystemExit of the script passes through."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    try:
        script, module, rest, extra, report = _parse(argv)
        install()
        if report:
            _ask_for_report(report)
        for name in extra:
            if importlib.util.find_spec(name) is None:
                raise UsageError(f"--retarget {name}: no such package is installed")
            rules.add_package(name)
        try:
            if script is not None:
                run_path(script, rest)
            else:
                assert module is not None
                run_module(module, rest)
        except (SystemExit, UsageError):
            raise
        except KeyboardInterrupt:
            return 130
        except BaseException as error:
            error.__traceback__ = _own_traceback(error)
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
    except UsageError as error:
        print(f"hf-ascend run: {error}", file=sys.stderr)
        return 2
    if report and not os.path.exists(report):
        print(f"hf-ascend run: no Trainer has trained, so {report} was not written", file=sys.stderr)
    return 0
