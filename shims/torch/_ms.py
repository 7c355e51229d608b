"""The one place where MindSpore is started and its internals are imported."""

import contextlib
import ctypes
import inspect
import linecache
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from hf_ascend.runtime import backend

DEVICE = backend.start()
ON_CPU = DEVICE.target == "CPU"

import mindspore as ms  # noqa: E402  (the device is chosen before MindSpore is first used)
from mindspore import mint, ops  # noqa: E402
from mindspore._c_expression import (  # noqa: E402
    ParamInfo,
    TraceRecorder,
    _swap_tensor_impl,
    pyboost_matmul,
    pyboost_reshape,
    run_backward,
)
from mindspore.common._grad_function import _Function as MsFunction  # noqa: E402
from mindspore.graph import jit_context as jit_state  # noqa: E402
from mindspore.graph import jit_trace  # noqa: E402
from mindspore.graph.api import _pynative_executor as executor  # noqa: E402
from mindspore.ops import auto_generate as gen  # noqa: E402

MsTensor = ms.Tensor
MsParameter = ms.Parameter
TensorPy = MsTensor.__mro__[1]
"""The C++ base of tensors and parameters: the cheap and complete isinstance test."""
raw_dtype = TensorPy._dtype.__get__
raw_shape = TensorPy._shape.__get__
raw_requires_grad = TensorPy._requires_grad.__get__
raw_address = TensorPy._data_ptr

# What every operator and module asks, without MindSpore's Python around it.
grad_enabled = executor._executor.enable_grad
grad_recording = executor._executor.grad_flag

_CLEAN = TensorPy.__getstate__(MsTensor.from_numpy(np.zeros((), np.float32)))


def _place() -> Any:
    """Where a tensor object keeps its two shared pointers, if it is laid out as in the MindSpore this was written for.

    An operator's result holds a promise of a tensor, anything else the tensor itself; the other pointer is null.
    """
    own, promised = MsTensor.from_numpy(np.zeros(2, np.float32)), mint.add(ms.Tensor([1.0]), ms.Tensor([2.0]))
    if TensorPy.__basicsize__ != 112:
        return None
    a, b = (list((ctypes.c_uint64 * 14).from_address(id(x))) for x in (own, promised))
    fits = [bool(w) for w in a[9:]] == [True, True, False, False, False] and a[:1] == b[:1] and a[2:9] == b[2:9]
    return ctypes.c_uint64 * 5 if fits and [bool(w) for w in b[9:]] == [False, False, False, True, True] else None


_POINTERS = _place() if ON_CPU else None


def replace_impl(x: Any, value: Any) -> None:
    """Make the Python object `x` the tensor that `value` is: data, place in the graph, requires_grad. `value` is used up.

    What an operator returns carries the operator's promise of a result, which MindSpore's operators ask
    before the tensor itself, and which its swap does not exchange. So `x` first exchanges both pointers with a clean
    tensor. Where they are not found, setting the state anew drops the promise, but never frees the memory behind it.
    """  # noqa: E501
    x.__dict__.pop("_np", None)
    if _POINTERS is None:
        TensorPy.__setstate__(x, _CLEAN)
    else:
        clean = MsTensor.from_numpy(np.zeros((), np.float32))
        a, b = _POINTERS.from_address(id(x) + 72), _POINTERS.from_address(id(clean) + 72)
        kept = a[:]
        a[:] = b[:]
        b[:] = kept
    _swap_tensor_impl(x, value)


def exchange_impl(x: Any, y: Any) -> None:
    """Exchange what two Python objects are."""
    kept = MsTensor.from_numpy(np.zeros((), np.float32))
    _swap_tensor_impl(kept, x)
    replace_impl(x, y)
    replace_impl(y, kept)


# ---- graph capture: mindspore.jit(capture_mode="trace") records the operators that Python runs
_recorder = TraceRecorder.get_instance()

# For every operator it looks up the source line of every frame. It fails on a frame that has none: those of `python -m`
# and `python -c`, and a prompt's; empty lines in the cache of source lines will do. And for a file that is no module's
# the lookup goes through all modules each time, unless the cache of those says otherwise.
for _name in ("<frozen runpy>", *(("<string>", "<stdin>") if sys.argv[:1] in ([""], ["-c"], ["-"]) else ())):
    linecache.cache.setdefault(_name, (0, None, ["\n"] * 10_000, _name))
    inspect.modulesbyfile.setdefault(_name, "runpy")  # type: ignore[attr-defined]


class CaptureError(RuntimeError):
    """Something that a graph cannot record was asked of a tensor whose value changes from run to run."""


class _Aside(jit_state.JitContext):
    """What MindSpore's operators are given as the capture in progress by work that it shall not record."""

    def run_op(self, prim: Any, result: Any, *args: Any) -> Any:
        """Record nothing."""
        return result

    def prepare_op(self, name: str, result: Any, *args: Any) -> tuple:
        """Some operators are recorded without another question; `_capture` takes their nodes off results."""
        return result, [__file__], [1], args

    def pass_trace_node(self, *args: Any) -> None:
        """Record nothing."""


_ASIDE = _Aside()


def capturing() -> bool:
    """Whether mindspore.jit records a graph now. `jit_state._jit_context is not None` is the cheaper first question."""
    context = jit_state._jit_context
    if context is None or context is _ASIDE:
        return False
    if context.compiled:  # no operator runs in Python while a finished graph does: that one failed and left this behind
        abandon_capture()
        return False
    return True


def traced(x: Any) -> bool:
    """Whether `x` will have another value when the graph being captured runs again; a constant of the graph has not.

    A parameter has, and so has what the recorder knows: inputs, and results of recorded operators. Its Python
    interface has no question for that, but passing a tensor's node to the tensor itself fails if there is none.
    """
    if isinstance(x, MsParameter):
        return True
    if x.__dict__.get("_fresh", x) is jit_state._jit_context._phase:
        return False
    try:
        _recorder.sync_tensor_node(x, x)
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Work that a capture in progress does not record. Its results are constants of the graph."""
    context = jit_state._jit_context
    if context is not None:
        jit_state.set_jit_context(_ASIDE)
    try:
        yield
    finally:
        if jit_state._jit_context is _ASIDE:  # else the capture was abandoned meanwhile
            jit_state.set_jit_context(context)


def refuse_random() -> None:
    """Raise CaptureError during a capture: random numbers drawn now would be the graph's at every run."""
    if jit_state._jit_context is not None:
        refuse(
            "random numbers drawn while mindspore.jit captures a graph would be the same at each of its runs. Pass "
            "them as an argument, or use an operator of MindSpore's"
        )


def refuse_capture(x: Any) -> None:
    """Raise CaptureError if a capture is in progress and the host asks for values of `x` that differ between runs."""
    if capturing() and traced(x):
        refuse(
            f"the value of a tensor of shape {tuple(raw_shape(x))} is needed on the host, which mindspore.jit cannot "
            "record: the value of this run would become a constant of the graph. Capture a part of the model without "
            "it, or pass what depends on it as an argument"
        )


_CONSTANTS: list[Any] = []
"""Shapes and dimensions that graphs were given, and the functions that they were made of. The recorder may look the
first up after its graph is finished, and the second for good, so they are never freed."""


class _Keeping(jit_trace.TraceJitContext):
    """MindSpore's capture in progress, and all tuples that its operators were given.

    The recorder knows a tuple by its id. When one is gone, Python gives its id to the next, and the recorder would take
    that one's place in the graph for it: another shape, another operator's results.
    """

    def args_preprocess(self, name: str, result: Any, *args: Any) -> tuple:
        """Called for each recorded operator."""
        made = super().args_preprocess(name, result, *args)
        tuples = [a for a in (result, *args, *made[3]) if isinstance(a, (tuple, list))]
        self.__dict__.setdefault("_kept", []).extend(tuples)
        _CONSTANTS.extend(t for t in tuples if not any(isinstance(v, TensorPy) for v in t))
        return made

    @property
    def phase(self) -> Any:
        return self._phase

    @phase.setter
    def phase(self, value: str) -> None:
        """Set to nothing when the graph is compiled."""
        self._phase = value
        if not value:
            self.__dict__.pop("_kept", None)

    def set_is_nested(self, status: bool) -> None:
        """The first thing that a new capture does."""
        self.__dict__.pop("_kept", None)
        self.__class__ = jit_trace.TraceJitContext
        self.set_is_nested(status)


def keep_tuples() -> None:
    """Keep the tuples that operators of the capture in progress are given, until it ends."""
    context = jit_state._jit_context
    if context.__class__ is jit_trace.TraceJitContext:
        context.__class__ = _Keeping
        _keep_function()


def _keep_function() -> None:
    """Keep the function that is being captured, with what it refers to, for as long as its graph: forever.

    MindSpore knows a graph by its function's id, name and line. Were the function freed, Python would give its id to
    the next one, which for a closure made in a loop has the same name and line: the old graph would answer it.
    Forgetting the graph instead does not do: one that was recorded for gradients is found in C++ all the same.
    """
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "jit_trace_wrap":
        frame = frame.f_back
    if frame is not None:
        _CONSTANTS.append(frame.f_locals["fn"])


def refuse(message: str) -> NoReturn:
    """Raise CaptureError, and abandon the capture in progress."""
    error = CaptureError(message)
    abandon_capture(error)
    raise error


class _Abandoned(jit_trace.TraceJitContext):
    """MindSpore's state between a capture that failed and the next one.

    Should the captured function catch the error and go on, MindSpore asks here for the finished graph's result, and
    the error is raised once more; it would otherwise finish a graph that it no longer has, and crash.
    """

    compiled = True

    @property
    def result(self) -> Any:
        raise self._error

    def set_is_nested(self, status: bool) -> None:
        """The first thing that a new capture does."""
        self.__class__ = jit_trace.TraceJitContext
        self._compiled, self._error = False, None
        self.set_is_nested(status)


def abandon_capture(error: BaseException | None = None) -> None:
    """End a capture that failed with `error`, so that MindSpore can start another; it leaves its state as it was."""
    context = jit_trace._trace_jit_context
    if not context.compiled:
        jit_trace._trace_compile_cache.discard(context._phase)
    with contextlib.suppress(RuntimeError):
        while True:  # beginning a graph inside another is refused, and clears all that the recorder has
            _recorder.begin_graph("abandoned", "abandoned", [__file__], [1])
    jit_state.set_jit_context(None)
    jit_trace._using_trace = False
    context._error = error or CaptureError("this capture was abandoned")
    context.__class__ = _Abandoned


__all__ = [
    "CaptureError", "abandon_capture", "aside", "capturing", "jit_state", "keep_tuples",
    "refuse", "refuse_capture", "refuse_random",
    "traced",
    "DEVICE", "ON_CPU", "MsFunction", "MsParameter", "MsTensor", "ParamInfo", "TensorPy", "exchange_impl", "executor",
    "gen", "grad_enabled", "grad_recording", "mint", "ms", "ops", "pyboost_matmul", "pyboost_reshape",
    "raw_address", "raw_dtype", "raw_requires_grad", "raw_shape", "replace_impl", "run_backward",
]  # fmt: skip
