"""transformers.masking_utils, executed, with masks from functions of indices made by broadcasting.

Upstream maps such a function over each of the four dimensions with torch.vmap, PyTorch's own transformation. The
functions compare and look up indices element by element, so index tensors that broadcast give the same mask at once.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from . import masking_utils__upstream as upstream
from .masking_utils__upstream import *


def _vmap_expansion_sdpa(mask_function: Callable[..., Any]) -> Callable[..., Any]:
    """`mask_function` over all combinations of four index vectors: (batch, heads, queries, keys)."""

    def expanded(*indices: Any) -> Any:
        mask = mask_function(*upstream._non_vmap_expansion_sdpa(*indices))
        return mask.expand(*(len(i) for i in indices))

    return expanded


upstream._vmap_expansion_sdpa = _vmap_expansion_sdpa
upstream.TransformGetItemToIndex = contextlib.nullcontext


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
