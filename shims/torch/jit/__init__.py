"""torch.jit: without TorchScript its decorators leave functions alone and nothing is being traced."""

from typing import Any, Final

from hf_ascend.retarget.finder import placeholder

from .._jit_internal import _overload_method, _same  # noqa: F401


def is_tracing() -> bool:
    """Always False."""
    return False


is_scripting = is_tracing
script = ignore = unused = export = script_if_tracing = _script_if_tracing = interface = _same


def annotate(the_type: Any, value: Any) -> Any:
    """The value."""
    return value


class ScriptModule:
    """TorchScript's, for isinstance checks."""


class ScriptFunction:
    """TorchScript's, for isinstance checks."""


RecursiveScriptModule = TracedModule = TopLevelTracedModule = ScriptModule
Attribute = annotate
trace = trace_module = load = save = freeze = optimize_for_inference = placeholder(
    "torch.jit", "capture a model with mindspore.jit(capture_mode='trace') or export it with mindspore.export"
)
