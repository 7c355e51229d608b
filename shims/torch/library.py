"""torch.library: operators that Python code defines.

They are called as the functions they are; gradients come from `register_autograd`. Upstream's registers with PyTorch's
C++ dispatcher.
"""

from collections.abc import Callable
from typing import Any

OPERATORS: dict[str, "CustomOpDef"] = {}


class CustomOpDef:
    """A defined operator."""

    def __init__(self, name: str, fn: Callable[..., Any]):
        self.name, self.fn = name, fn
        self._node: Any = None
        OPERATORS[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._node is None:
            return self.fn(*args, **kwargs)
        if kwargs:
            import inspect

            bound = inspect.signature(self.fn).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        return self._node.apply(*args)

    def register_fake(self, fn: Any = None, /) -> Any:
        """Shape inference, which nothing here needs."""
        return fn if fn is not None else lambda f: f

    register_kernel = lambda self, *a, **k: lambda f: f  # noqa: E731

    def register_autograd(self, backward: Callable[..., Any], /, *, setup_context: Any = None) -> None:
        """Give the operator a gradient."""
        from .autograd import Function

        members: dict[str, Any] = {"forward": staticmethod(self.fn), "backward": staticmethod(backward)}
        members["setup_context"] = staticmethod(setup_context or (lambda ctx, inputs, output: None))
        self._node = type(self.name, (Function,), members)


def custom_op(
    name: str, fn: Any = None, /, *, mutates_args: Any = (), device_types: Any = None, schema: Any = None, **kwargs: Any
) -> Any:
    """Define the operator "namespace::name"; also a decorator."""
    return CustomOpDef(name, fn) if fn is not None else lambda f: CustomOpDef(name, f)


triton_op = custom_op


def register_fake(op: Any, func: Any = None, /, **kwargs: Any) -> Any:
    """Shape inference, which nothing here needs."""
    return func if func is not None else lambda f: f


def register_autograd(op: Any, backward: Any, /, *, setup_context: Any = None, **kwargs: Any) -> None:
    """Give a defined operator a gradient."""
    (op if isinstance(op, CustomOpDef) else OPERATORS[op]).register_autograd(backward, setup_context=setup_context)


def register_kernel(op: Any, device_types: Any, func: Any = None, /, **kwargs: Any) -> Any:
    """Kernels for PyTorch's devices are not used."""
    return func if func is not None else lambda f: f


def wrap_triton(fn: Any) -> Any:
    """Leaves the function as it is."""
    return fn


class Library:
    """A namespace of operators; `define` alone has no effect, `impl` gives one."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        self.ns = ns

    def define(self, schema: str, **kwargs: Any) -> str:
        """The operator's name."""
        return schema.partition("(")[0]

    def impl(self, name: str, fn: Any, *args: Any, **kwargs: Any) -> None:
        """Define by an implementation."""
        CustomOpDef(f"{self.ns}::{name}", fn)
