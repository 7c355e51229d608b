"""gguf, whose `dequantize` fills its result piece by piece and gives the file's pages back.

Upstream's makes all pieces before it puts them together, and the pages of the mapped file stay in memory.
"""

import weakref
from typing import Any

import gguf as real
import numpy as np
from gguf import *  # noqa: F403

from hf_ascend.loading.stream import give_back_file

_PIECE = 1 << 18
"""Values that are computed at a time, at least."""
_fresh: weakref.ref | None = None


def dequantize(data: np.ndarray, qtype: Any) -> np.ndarray:
    """Upstream's: the float32 values of a tensor's blocks, one row of blocks for each row of values.

    A mapping from which `data` was taken reads the file again where it is used again.
    """
    global _fresh
    if type(data) not in (np.ndarray, np.memmap) or not data.flags.c_contiguous or 0 in data.shape:
        return real.dequantize(data, qtype)
    rows = data.reshape(-1, data.shape[-1])
    width = real.dequantize(rows[:1], qtype).shape[-1]
    out = np.empty((rows.shape[0], width), np.float32)
    step = -(-_PIECE // width)
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        out[start : start + step] = real.dequantize(piece, qtype)
        give_back_file(piece)
    out = out.reshape(*data.shape[:-1], width)
    _fresh = weakref.ref(out)
    return out


def take(a: np.ndarray) -> bool:
    """Whether `a` is all of what `dequantize` returned last and nobody has taken it, so that it need not be copied."""
    global _fresh
    fresh = _fresh() if _fresh is not None else None
    if fresh is None or not (a is fresh or a.base is fresh) or a.size != fresh.size or not a.flags.c_contiguous:
        return False
    _fresh = None
    return True


def __getattr__(name: str) -> Any:
    return getattr(real, name)
