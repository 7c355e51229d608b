"""Which dtype a model gets: the forms of the argument, and the choice when nothing was asked for.

Two kinds of dtype objects meet in a loader. Configs are shared with real transformers and hold PyTorch's
own; executed code computes with the stand-in's. `requested` brings an argument to the stand-in's, and
`into_config` writes PyTorch's.
"""

from typing import Any

import torch as real

from hf_ascend.torch import _dtypes
from hf_ascend.torch._ms import ON_CPU

_HALVES = ("bfloat16", "float16")


def requested(dtype: Any) -> Any:
    """A dtype argument in the stand-in's terms.

    `dtype` may be None, "auto", a name ("bfloat16", "torch.bfloat16"), a dtype of the stand-in, of PyTorch,
    of MindSpore or of numpy, or a dict of these by sub-config. None and "auto" come back as they are.
    Raises ValueError for anything else, as upstream does.
    """
    if dtype is None or dtype == "auto":
        return dtype
    if isinstance(dtype, dict):
        return {k: requested(v) for k, v in dtype.items()}
    try:
        found = _dtypes.as_dtype(dtype)
    except TypeError:
        raise ValueError(
            f"dtype={dtype!r} is not known: pass 'auto', a name such as 'bfloat16', a dtype of torch or MindSpore, "
            "or a dict of these by sub-config"
        ) from None
    if found.ms is None:
        raise ValueError(f"dtype={dtype!r} has no counterpart in MindSpore; use float32, bfloat16 or float16")
    return found


def is_default(dtype: Any) -> bool:
    """Whether an argument leaves the choice to the library."""
    return dtype is None or dtype == "auto"


def preferred(stored: Any) -> Any:
    """The dtype in which weights stored as `stored` (a dtype or None) are used when the user did not choose.

    On the CPU half precision becomes float32, because MindSpore's CPU kernels (matmul, softmax, norms) do not
    take bfloat16 and are slow in float16. On Ascend the checkpoint's dtype is used.
    """
    if stored is None:
        return None
    stored = _dtypes.as_dtype(stored)
    return _dtypes.float32 if ON_CPU and stored.name in _HALVES else stored


def to_real(dtype: Any) -> Any:
    """PyTorch's own dtype for one of the stand-in's; dicts item by item, anything else as it is."""
    if isinstance(dtype, dict):
        return {k: to_real(v) for k, v in dtype.items()}
    return getattr(real, dtype.name, dtype) if isinstance(dtype, _dtypes.dtype) else dtype


def into_config(config: Any) -> Any:
    """Replace stand-in dtypes in a config and its sub-configs by PyTorch's own, and return the config."""
    parts = [config, *(getattr(config, key, None) for key in getattr(config, "sub_configs", ()))]
    for part in parts:
        held = getattr(part, "dtype", None)
        if isinstance(held, (_dtypes.dtype, dict)):
            part.dtype = to_real(held)
    return config
