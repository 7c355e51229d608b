"""PyTorch with attention rounded as the Ascend kernel rounds it: what check 5 is held against.

CANN's attention takes float16 and bfloat16 only, so a float32 model's query, key and value are rounded there: to
float16 when nothing is recorded, to bfloat16 when gradients are. A model with discrete choices (experts, selected
tokens) may choose otherwise after any rounding, so the plain float32 result is no measure; PyTorch's own attention in
the same dtype is.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

DRAWS = 3
_PLAIN: Any = None


def _plain() -> Any:
    """PyTorch's own scaled_dot_product_attention, also inside `rounded_attention`."""
    global _PLAIN
    if _PLAIN is None:
        from torch.nn import functional

        _PLAIN = functional.scaled_dot_product_attention
    return _PLAIN


@contextlib.contextmanager
def _attention(function: Any) -> Iterator[None]:
    """Inside a `with` block, real PyTorch's scaled_dot_product_attention is `function`."""
    from torch.nn import functional

    before = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = function
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = before


def plain_attention() -> contextlib.AbstractContextManager[None]:
    """Inside a `with` block, PyTorch's attention rounds nothing, whatever block is around this one."""
    return _attention(_plain())


def rounded_attention(seed: int | None = None) -> contextlib.AbstractContextManager[None]:
    """Inside a `with` block, real PyTorch's scaled_dot_product_attention rounds float32 inputs and results.

    With a seed they are changed at random by up to half a unit in the last place first: another rounding of the same
    values, to see how much a result depends on how its roundings fall.
    """
    import torch

    plain = _plain()
    generator = None if seed is None else torch.Generator().manual_seed(seed)

    def cast(x: Any, half: Any) -> Any:
        if generator is not None:
            noise = 2 * torch.rand(x.shape, generator=generator) - 1
            x = x * (1 + torch.finfo(half).eps / 2 * noise)
        return x.to(half)

    def rounded(query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
        if query.dtype is not torch.float32:
            return plain(query, key, value, attn_mask, *args, **kwargs)
        if attn_mask is not None and attn_mask.requires_grad and torch.is_grad_enabled():
            return plain(query, key, value, attn_mask, *args, **kwargs)  # the Ascend kernel gives masks no gradient
        recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
        half = torch.bfloat16 if recorded else torch.float16
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.clamp(min=torch.finfo(half).min).to(half)
        q, k, v = (cast(x, half) for x in (query, key, value))
        result = plain(q, k, v, attn_mask, *args, **kwargs).float()
        return result if generator is None else cast(result, half).float()

    return _attention(rounded)
