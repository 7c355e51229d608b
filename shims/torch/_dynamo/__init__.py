"""torch._dynamo: PyTorch's compiler, absent; its markers do nothing."""

from typing import Any

from .._jit_internal import _same

disable = allow_in_graph = assume_constant_result = forbid_in_graph = nonstrict_trace = _same


def is_compiling() -> bool:
    """Always False."""
    return False


def mark_static_address(*args: Any, **kwargs: Any) -> None:
    """Nothing to mark."""


mark_static = mark_dynamic = maybe_mark_dynamic = mark_unbacked = graph_break = reset = mark_static_address


class exc:
    """Exceptions of the compiler, which never occur."""

    class Unsupported(RuntimeError):
        """Never raised here."""

    class TorchDynamoException(RuntimeError):
        """Never raised here."""


class config:
    """Settings of the compiler, accepted."""

    cache_size_limit = recompile_limit = 8
    suppress_errors = False


class _Decorators:
    nonstrict_trace = staticmethod(_same)


decorators = _Decorators()


class eval_frame:
    """What upstream asks of compiled modules."""

    class OptimizedModule:
        """The class of modules compiled by PyTorch, of which there are none."""
