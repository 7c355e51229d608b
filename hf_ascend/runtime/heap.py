"""Gives the C library's unused heap back to the system when there is too much of it.

PyTorch takes aligned blocks from the heap. glibc before 2.38 does not reuse a freed aligned block for the next one of
the same size when something small lies behind it, and MindSpore's graph puts small things everywhere: a loop that
needs 100 MB grew by 1 GB in 300 backward passes.
"""

import ctypes
import functools
from collections.abc import Callable

_EVERY = 16
_LEAST = 128 << 20
_passes = 0


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


@functools.cache
def _libc() -> tuple[Callable[[], _Mallinfo2], Callable[[int], int]] | None:
    try:
        libc = ctypes.CDLL(None)
        info, trim = libc.mallinfo2, libc.malloc_trim
    except (AttributeError, OSError):  # another C library than glibc
        return None
    info.restype = _Mallinfo2
    return info, trim


def tidy() -> None:
    """Called after each backward pass: looks at every 16th whether unused heap is worth giving back, and does so.

    Worth it is what exceeds 128 MiB and a quarter of what is in use.
    """
    global _passes
    _passes += 1
    if _passes % _EVERY or (functions := _libc()) is None:
        return
    info, trim = functions
    now = info()
    if now.fordblks > max(_LEAST, (now.uordblks + now.hblkhd) // 4):
        trim(0)
