"""torch.nn.attention: PyTorch's choice between its attention kernels, which hf_ascend.kernels makes here.

`sdpa_kernel` is accepted and changes nothing: every kernel computes the same attention.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.nn.attention import SDPBackend

__all__ = ["SDPBackend", "sdpa_kernel"]


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """Accepts one SDPBackend or a list of them; raises ValueError for anything else, as PyTorch does."""
    chosen = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(chosen, list) or not all(isinstance(b, SDPBackend) for b in chosen):
        raise ValueError(f"Backends must be a list of SDPBackend, or one, not {backends!r}")
    yield
