"""transformers.integrations.sdpa_attention, executed, with key heads shared instead of repeated.

Upstream repeats keys and values for grouped heads unless the device is one it knows to share them with a mask;
`kernels.attention` always shares them, so masks and caches reach it as they are.
"""

from typing import Any

from . import sdpa_attention__upstream as upstream
from .sdpa_attention__upstream import *


def use_gqa_in_sdpa(*args: Any, **kwargs: Any) -> bool:  # its arguments differ from release to release
    """Whether grouped heads go to scaled_dot_product_attention as they are: always."""
    return True


upstream.use_gqa_in_sdpa = use_gqa_in_sdpa
upstream._is_torch_npu_available = False  # its branch reads additive masks as boolean, for torch_npu's operator
sdpa_attention_forward = upstream.sdpa_attention_forward


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
