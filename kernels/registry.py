"""The registry: one signature per kernel, several faces, and the choice between them.

A face is a function with the kernel's name in `kernels/<face>/<kernel>.py`, together with `CONTRACT`, the Contract
that it needs (or a function `(args, options) -> reason or None`, or None: it takes everything). A face whose module
is not there, or says by ImportError that it cannot work on this machine, is passed over.
"""

import collections
import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

MODES = ("auto", "reference", "emulated")
KERNELS: dict[str, "Kernel"] = {}
_calls: collections.Counter[tuple[str, str]] = collections.Counter()
_fallbacks: collections.Counter[tuple[str, str, str]] = collections.Counter()
_MOST_REASONS = 100
_META = "tensors on the meta device have no values"
_absent: dict[tuple[str, str], str] = {}
notes: dict[str, str] = {}
"""Upstream layers and functions that a kernel stands in for (name -> kernel), or why it does not."""


def _mode_from_environment() -> str:
    mode = os.environ.get("HF_ASCEND_KERNELS", "auto").lower()
    if mode not in MODES:
        raise ValueError(f"HF_ASCEND_KERNELS={mode!r}: expected one of {', '.join(MODES)}")
    return mode


_mode = _mode_from_environment()


def mode() -> str:
    """The mode in force: "auto", "reference" or "emulated"."""
    return _mode


def _preferred() -> tuple[str, ...]:
    """Names of the faces to try, best first; the reference is the last resort of all."""
    if _mode == "reference":
        return ()
    if _mode == "emulated":
        return ("cann",)
    from hf_ascend.runtime.device import choose_device

    return ("cann",) if choose_device().target == "Ascend" else ("cpu",)


class Face:
    """One way to compute a kernel: `fn`, and `check(args, options)`, which gives a reason against it or None."""

    __slots__ = ("check", "fn", "key", "name")

    def __init__(self, kernel: str, name: str, fn: Callable[..., Any], contract: Any):
        self.name, self.fn, self.key = name, fn, (kernel, name)
        self.check = contract.check if hasattr(contract, "check") else contract


class Kernel:
    """A kernel: call it with tensors by position and options by keyword, as its reference face documents."""

    def __init__(self, name: str):
        self.name = name
        self._active: Face | None = None
        self._loaded: dict[str, Face | None] = {}
        KERNELS[name] = self

    def face(self, name: str) -> Face | None:
        """The face called `name`, or None if this machine has none."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Face | None:
        where = f"{__package__}.{name}.{self.name}"
        try:
            module = importlib.import_module(where)
        except ImportError as error:
            if name == "reference" or (isinstance(error, ModuleNotFoundError) and error.name not in (where, None)):
                raise
            _absent[self.name, name] = str(error)
            return None
        return Face(self.name, name, getattr(module, self.name), getattr(module, "CONTRACT", None))

    @property
    def active(self) -> Face:
        """The face in force."""
        if self._active is None:
            found = (self.face(n) for n in _preferred())
            self._active = next((f for f in found if f is not None), None) or self.face("reference")
        return self._active  # type: ignore[return-value]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The result by the face in force, or by the reference when its contract rules the call out."""
        face = self._active or self.active
        if face.check is not None:
            why = _META if _is_meta(args[0]) else face.check(args, options)
            if why is not None:
                _count(self.name, face.name, why)
                face = self.face("reference")  # type: ignore[assignment]
        _calls[face.key] += 1
        return face.fn(*args, **options)

    def instead(self, upstream: Callable[[], Any], *args: Any, **options: Any) -> Any:
        """The kernel's result, or `upstream()` when the face in force is the reference or its contract fails.

        For upstream code that a kernel stands in for: that code is then the reference.
        """
        face = self._active or self.active
        if face.name == "reference":
            return upstream()
        if face.check is not None:
            why = _META if _is_meta(args[0]) else face.check(args, options)
            if why is not None:
                _count(self.name, face.name, why)
                return upstream()
        _calls[face.key] += 1
        return face.fn(*args, **options)


def _is_meta(x: Any) -> bool:
    return "_meta" in getattr(x, "__dict__", ())


def _count(kernel: str, face: str, why: str) -> None:
    """Count a fallback; reasons name shapes, so that a bound keeps a long run's list short."""
    key = (kernel, face, why)
    _fallbacks[key if key in _fallbacks or len(_fallbacks) < _MOST_REASONS else (kernel, face, "other reasons")] += 1


def _set(mode: str) -> None:
    global _mode
    if mode not in MODES:
        raise ValueError(f"kernels.use({mode!r}): expected one of {', '.join(MODES)}")
    _mode = mode
    for kernel in KERNELS.values():
        kernel._active = None


@contextlib.contextmanager
def use(mode: str) -> Iterator[None]:
    """Work in `mode` inside a `with` block: "auto", "reference" or "emulated". Raises ValueError for another."""
    before = _mode
    _set(mode)
    try:
        yield
    finally:
        _set(before)


def report() -> dict[str, Any]:
    """What ran: the mode, and per kernel its face, calls by face, fallbacks by reason, and what it stands in for.

    `fallbacks` maps "face: reason" to how often that face was passed over. `absent` says why a face is not there.
    """
    made: dict[str, Any] = {"mode": _mode}
    for name, kernel in KERNELS.items():
        made[name] = {
            "face": kernel.active.name,
            "calls": {face: n for (k, face), n in _calls.items() if k == name},
            "fallbacks": {f"{face}: {why}": n for (k, face, why), n in _fallbacks.most_common() if k == name},
            "absent": {face: why for (k, face), why in _absent.items() if k == name},
        }
    made["upstream"] = dict(notes)
    return made


def reset_report() -> None:
    """Start counting anew."""
    _calls.clear()
    _fallbacks.clear()
