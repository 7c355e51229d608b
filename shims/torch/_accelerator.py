"""What torch.cuda, torch.npu and torch.accelerator have in common: the one device of this process."""

import contextlib
from typing import Any

from ._device import HOME, device
from ._ms import ON_CPU, ms
from ._ops.random import default_generator


def is_available() -> bool:
    """Whether there is an accelerator: on Ascend."""
    return not ON_CPU


def is_initialized() -> bool:
    """Whether it is in use."""
    return not ON_CPU


def device_count() -> int:
    """The number of accelerators that this process uses."""
    return 0 if ON_CPU else 1


def current_device() -> int:
    """The index of the device."""
    if ON_CPU:
        raise AssertionError("there is no accelerator: MindSpore runs on the CPU")
    return HOME.index or 0


def set_device(index: Any) -> None:
    """The device is chosen when hf_ascend starts (DEVICE_ID, LOCAL_RANK); this cannot change it."""


def get_device_name(index: Any = None) -> str:
    """The device's name."""
    return "CPU" if ON_CPU else ms.hal.get_device_name(HOME.index or 0)


def get_device_capability(index: Any = None) -> tuple[int, int]:
    """NVIDIA's compute capability, which an Ascend NPU has none of."""
    return (0, 0)


def get_device_properties(index: Any = None) -> Any:
    """MindSpore's description of the device."""
    return ms.hal.get_device_properties(HOME.index or 0)


def synchronize(index: Any = None) -> None:
    """Wait for the device."""
    ms.runtime.synchronize()


def empty_cache() -> None:
    """Give unused device memory back."""
    if not ON_CPU:
        ms.runtime.empty_cache()


def _memory(name: str) -> Any:
    def read(index: Any = None) -> int:
        return 0 if ON_CPU else getattr(ms.runtime, name)()

    read.__doc__ = f"Bytes, from mindspore.runtime.{name}; 0 on the CPU."
    return read


memory_allocated = _memory("memory_allocated")
max_memory_allocated = _memory("max_memory_allocated")
memory_reserved = _memory("memory_reserved")
max_memory_reserved = _memory("max_memory_reserved")


def reset_peak_memory_stats(index: Any = None) -> None:
    """Start peak statistics anew."""
    if not ON_CPU:
        ms.runtime.reset_peak_memory_stats()


reset_max_memory_allocated = reset_peak_memory_stats


def mem_get_info(index: Any = None) -> tuple[int, int]:
    """(free, total) bytes."""
    if ON_CPU:
        return (0, 0)
    total = ms.hal.get_device_properties(HOME.index or 0).total_memory
    return total - memory_allocated(), total


def manual_seed(seed: int) -> None:
    """Seed the device's random numbers."""
    from . import manual_seed as seed_all

    seed_all(seed)


manual_seed_all = manual_seed


def get_rng_state(index: Any = None) -> Any:
    """The state of the random numbers."""
    return default_generator.get_state()


def set_rng_state(state: Any, index: Any = None) -> None:
    """Continue from a state."""
    default_generator.set_state(state)


def get_rng_state_all() -> list[Any]:
    """The states of all devices: one."""
    return [default_generator.get_state()] if not ON_CPU else []


def set_rng_state_all(states: Any) -> None:
    """Continue from states."""
    for s in states:
        default_generator.set_state(s)


def is_bf16_supported(*args: Any) -> bool:
    """Whether products of bfloat16 run on the device."""
    return not ON_CPU


def is_current_stream_capturing() -> bool:
    """Always False."""
    return False


def ipc_collect() -> None:
    """Nothing to collect."""


class Stream(contextlib.nullcontext):
    """Streams are MindSpore's own business; this one changes nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize()

    wait_stream = wait_event = record_event = lambda self, *a: None


class Event:
    """A point in time, measured on the host after waiting for the device."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.time = 0.0

    def record(self, stream: Any = None) -> None:
        """Remember now."""
        import time

        synchronize()
        self.time = time.perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds until `end`."""
        return (end.time - self.time) * 1000

    def synchronize(self) -> None:
        """Nothing left to wait for."""


def current_stream(*args: Any) -> Stream:
    """A stream."""
    return Stream()


default_stream = stream = current_stream
device_context = device


class OutOfMemoryError(RuntimeError):
    """Raised by PyTorch when device memory runs out; MindSpore raises RuntimeError."""
