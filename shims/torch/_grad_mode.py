"""no_grad and its relatives over MindSpore's recording flag."""

import contextlib
import functools
import inspect
from typing import Any

from ._ms import executor, grad_recording


def is_grad_enabled() -> bool:
    """Whether operators are recorded for gradients."""
    return executor.enable_grad()


def ensure_recording() -> None:
    """Let autograd work again after a functional MindSpore gradient, which switches it off when it ends."""
    if not grad_recording():
        executor.set_grad_flag(True)


class _GradMode(contextlib.ContextDecorator):
    mode = True

    def __init__(self) -> None:
        self.previous: list[bool] = []

    def __enter__(self) -> None:
        self.previous.append(executor.enable_grad())
        executor.set_enable_grad(self.mode)
        if self.mode:
            ensure_recording()

    def __exit__(self, *exc: object) -> None:
        executor.set_enable_grad(self.previous.pop())

    def __call__(self, fn: Any) -> Any:
        if inspect.isclass(fn):
            return fn
        if inspect.isgeneratorfunction(fn):
            return self._generator(fn)

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            before = executor.enable_grad()
            executor.set_enable_grad(self.mode)
            try:
                return fn(*args, **kwargs)
            finally:
                executor.set_enable_grad(before)

        return inside

    def _generator(self, fn: Any) -> Any:
        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            steps = fn(*args, **kwargs)
            sent = None
            while True:
                before = executor.enable_grad()
                executor.set_enable_grad(self.mode)
                try:
                    value = steps.send(sent)
                except StopIteration as stop:
                    return stop.value
                finally:
                    executor.set_enable_grad(before)
                sent = yield value

        return inside


def _maybe_decorating(cls: type) -> type:
    def new(kind: Any, fn: Any = None) -> Any:
        made = object.__new__(kind)
        if callable(fn):
            _GradMode.__init__(made)
            return made(fn)
        return made

    cls.__new__ = new  # type: ignore[method-assign,assignment]
    return cls


@_maybe_decorating
class no_grad(_GradMode):
    """Nothing inside is recorded. Context manager and decorator."""

    mode = False

    def __init__(self, fn: Any = None) -> None:
        super().__init__()


@_maybe_decorating
class enable_grad(_GradMode):
    """Everything inside is recorded, also within `no_grad`."""

    def __init__(self, fn: Any = None) -> None:
        super().__init__()


class set_grad_enabled(_GradMode):
    """Record or not, from the call on; as a context manager, until it ends."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self.before = executor.enable_grad()
        executor.set_enable_grad(self.mode)
        if mode:
            ensure_recording()

    def __enter__(self) -> None:
        executor.set_enable_grad(self.mode)

    def __exit__(self, *exc: object) -> None:
        executor.set_enable_grad(self.before)


class inference_mode(_GradMode):
    """`no_grad`; the further savings of PyTorch's inference mode have no counterpart."""

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if callable(mode):
            made.__init__(True)  # type: ignore[misc]
            return made(mode)
        return made

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = not mode


def is_inference_mode_enabled() -> bool:
    """Always False: tensors made here can always be used in recorded operators later."""
    return False
