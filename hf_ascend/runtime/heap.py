"""How training on the CPU uses the C library's heap: what is freed is kept for the next step, unless it is too much.

By default glibc gets every block of 32 MiB and more from the system anew and gives the top of the heap back at once:
the kernel then zeroes 700 MB a step for a model of 135M parameters, a tenth of the step's time. The first backward
pass turns that off. MALLOC_MMAP_THRESHOLD_ and the other variables of mallopt(3), if set, are left in force.

PyTorch takes aligned blocks from the heap. glibc before 2.38 does not reuse a freed aligned block for the next one of
the same size when something small lies behind it, and MindSpore's graph puts small things everywhere: a loop that
needs 100 MB grew by 1 GB in 300 backward passes.
"""

import ctypes
import functools
import os
from collections.abc import Callable

_EVERY = 16
_LEAST = 128 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_passes = 0


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


@functools.cache
def _libc() -> tuple[Callable[[], _Mallinfo2], Callable[[int], int]] | None:
    """glibc's mallinfo2 and malloc_trim; the first call makes it keep what is freed."""
    try:
        libc = ctypes.CDLL(None)
        info, trim = libc.mallinfo2, libc.malloc_trim
    except (AttributeError, OSError):  # another C library than glibc
        return None
    info.restype = _Mallinfo2
    if not any(name.startswith("MALLOC_") for name in os.environ):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    return info, trim


def tidy() -> None:
    """Called after each backward pass: looks at every 16th whether unused heap is worth giving back, and does so.

    Worth it is what exceeds 128 MiB and a quarter of what is in use.
    """
    global _passes
    _passes += 1
    functions = _libc()
    if functions is None or _passes % _EVERY:
        return
    info, trim = functions
    now = info()
    if now.fordblks > max(_LEAST, (now.uordblks + now.hblkhd) // 4):
        trim(0)
