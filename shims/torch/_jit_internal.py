"""torch._jit_internal: TorchScript's decorators, which do nothing without TorchScript."""

from collections.abc import Callable
from typing import Any, Final, List  # noqa: F401, UP035


def boolean_dispatch(
    arg_name: str,
    arg_index: int,
    default: bool,
    if_true: Callable,
    if_false: Callable,
    module_name: str,
    func_name: str,
) -> Callable:
    """One of two functions, by a boolean argument."""

    def fn(*args: Any, **kwargs: Any) -> Any:
        flag = kwargs.get(arg_name, args[arg_index] if arg_index < len(args) else default)
        return (if_true if flag else if_false)(*args, **kwargs)

    fn.__name__, fn.__doc__ = func_name, if_true.__doc__ or if_false.__doc__
    return fn


def _same(fn: Any = None, *args: Any, **kwargs: Any) -> Any:
    return fn if callable(fn) else _same


_overload = _overload_method = unused = ignore = export = _copy_to_script_wrapper = is_scripting_noop = _same


def is_scripting() -> bool:
    """Always False."""
    return False


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = List  # noqa: UP006
Future = Any
