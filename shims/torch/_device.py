"""torch.device over the process's one device.

Scripts name "cuda", "npu" or "cpu"; whatever they name, tensors live on the device that the runtime
chose. A device is a string too, so that real torch's `Tensor.to` accepts one.
"""

from typing import Any

from ._ms import DEVICE

_TYPES = {"cpu", "cuda", "npu", "meta", "mps", "xpu", "hpu", "mlu", "xla", "musa"}
_stack: list["device"] = []


class device(str):
    """`device("npu:0")`, `device("npu", 0)`, `device(0)`; as a context manager it is where new tensors go."""

    type: str
    index: int | None

    def __new__(cls, spec: Any = None, index: int | None = None, *, type: str | None = None) -> "device":  # noqa: A002
        if spec is None:
            spec = type if type is not None else DEVICE.type
        if isinstance(spec, device) and index is None:
            return spec
        if isinstance(spec, int):
            spec, index = DEVICE.type, spec
        name, _, number = str(spec).partition(":")
        if name not in _TYPES or (number and not number.isdigit()):
            raise RuntimeError(
                f"Expected one of {', '.join(sorted(_TYPES))} device type at start of device string: {spec}"
            )
        if number:
            index = int(number)
        self = super().__new__(cls, name if index is None else f"{name}:{index}")
        self.type, self.index = name, index
        return self

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __reduce__(self) -> Any:
        return (device, (str.__str__(self),))

    def __enter__(self) -> "device":
        _stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _stack.pop()

    def __call__(self, fn: Any) -> Any:
        import functools

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return inside


HOME = device(DEVICE.type, 0 if DEVICE.type == "npu" else None)
META = device("meta")


def wants_meta(where: Any) -> bool:
    """Whether a tensor asked for at `where` (None: the surrounding context's device) has shape and dtype only."""
    if where is None:
        return bool(_stack) and _stack[-1].type == "meta"
    return where == "meta"


def get_default_device() -> device:
    """Where new tensors go."""
    return _stack[-1] if _stack else HOME


def set_default_device(where: Any) -> None:
    """Set where new tensors go; None means the runtime's device again."""
    _stack[:] = [device(where)] if where is not None else []
