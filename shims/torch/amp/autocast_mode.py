"""torch.amp.autocast_mode, executed, with an `autocast` that sets `_autocast` instead of PyTorch's dispatcher.

It casts on Ascend. On the CPU, where half precision is slower than float32, it only says once that it does not; the
environment variable HF_ASCEND_AUTOCAST=cpu makes it cast there, too. The process has one device, which all names of
devices mean.
"""

import logging
import os
import warnings
from typing import Any

from .. import _autocast, _dtypes
from .._device import HOME
from .._ms import ON_CPU

_HALF = (_dtypes.bfloat16, _dtypes.float16)
_said = False


def casts() -> bool:
    """Whether operators are cast on this device. Raises ValueError for a setting that is not known."""
    setting = os.environ.get("HF_ASCEND_AUTOCAST", "")
    if setting not in ("", "cpu"):
        raise ValueError(f'HF_ASCEND_AUTOCAST={setting!r}: expected "cpu", or nothing')
    return not ON_CPU or setting == "cpu"


def tell() -> None:
    """Say once where autocast casts nothing."""
    global _said
    if not _said and not casts():
        _said = True
        logging.getLogger("hf_ascend").warning(
            "autocast (bf16=True, fp16=True) has no effect here: on the CPU everything goes on in float32. On Ascend "
            "operators are cast as by torch's autocast; HF_ASCEND_AUTOCAST=cpu does so on the CPU, too."
        )


class autocast:
    """Operators inside compute in half precision or in float32, each as it can. Context manager and decorator.

    Raises ValueError if `device_type` is no string. A `dtype` that is no half precision turns it off with a warning.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else _dtypes.as_dtype(dtype)
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        if enabled and self.fast_dtype not in _HALF:
            warnings.warn(
                f"autocast computes in bfloat16 or float16, not in {self.fast_dtype}. Disabling autocast.", stacklevel=2
            )
            enabled = False
        self._enabled = enabled

    def __enter__(self) -> "autocast":
        if self._enabled:
            tell()
        _autocast.enter(self._enabled and casts(), self.fast_dtype, self._cache_enabled)
        return self

    def __exit__(self, *exc: object) -> None:
        _autocast.leave()

    def __call__(self, func: Any) -> Any:
        if not callable(func):
            raise TypeError(f"autocast()(func) requires a callable, but got {type(func).__name__}.")
        return upstream.autocast_decorator(self, func)


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast casts on this process's device, whatever its name."""
    return casts()


def is_autocast_enabled(device_type: Any = None) -> bool:
    """Whether operators are being cast."""
    return _autocast.on


def is_autocast_cpu_enabled() -> bool:
    """Whether operators are being cast."""
    return _autocast.on


def get_autocast_dtype(device_type: str) -> Any:
    """The half precision of the region; outside of one torch's default for that device."""
    if _autocast.dtype is not None:
        return _autocast.dtype
    return _dtypes.bfloat16 if device_type == "cpu" else _dtypes.float16


def get_autocast_gpu_dtype() -> Any:
    """get_autocast_dtype of an accelerator."""
    return get_autocast_dtype("cuda")


def get_autocast_cpu_dtype() -> Any:
    """get_autocast_dtype of the CPU."""
    return get_autocast_dtype("cpu")


def is_autocast_cache_enabled() -> bool:
    """Whether casts of weights are kept until the outermost region ends."""
    return _autocast.cache


def set_autocast_enabled(*args: Any) -> None:
    """([device_type,] enabled): cast operators or not, until a region that is in force ends."""
    if args[-1] and _autocast.dtype is None:
        _autocast.dtype = get_autocast_dtype(args[0] if len(args) > 1 else "cuda")
    _autocast.on = bool(args[-1]) and casts()


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Set the half precision, until a region that is in force ends."""
    _autocast.dtype = _dtypes.as_dtype(dtype)


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Keep casts of weights or not, until a region that is in force ends."""
    _autocast.cache = enabled


def clear_autocast_cache() -> None:
    """Drop the casts of weights."""
    _autocast.forget()


from . import autocast_mode__upstream as upstream  # noqa: E402  (it is executed while torch is being imported)
from .autocast_mode__upstream import autocast_decorator, custom_bwd, custom_fwd  # noqa: E402

_cast_eligible = upstream._cast


def _cast(value: Any, device_type: str, dtype: Any) -> Any:
    """custom_fwd's casts: eligible are tensors of the device, by whatever name."""
    return _cast_eligible(value, HOME.type, dtype)


upstream.autocast, upstream.is_autocast_available, upstream._cast = autocast, is_autocast_available, _cast

__all__ = ["autocast", "autocast_decorator", "custom_bwd", "custom_fwd", "is_autocast_available"]
