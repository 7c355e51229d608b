"""torch.masked: reductions over the elements a mask keeps."""

from typing import Any


def mean(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:  # noqa: A002
    """The mean of kept elements."""
    if mask is None:
        return input.mean(dim, keepdim)
    keep = mask.expand(input.shape).to(input.dtype)
    return (input.masked_fill(~mask, 0) * keep).sum(dim, keepdim) / keep.sum(dim, keepdim)


def var(
    input: Any, dim: Any = None, unbiased: bool = True, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:  # noqa: A002
    """The variance of kept elements."""
    if mask is None:
        return input.var(dim, unbiased, keepdim)
    keep = mask.expand(input.shape).to(input.dtype)
    centred = (input - mean(input, dim, keepdim=True, mask=mask)) * keep
    return (centred * centred).sum(dim, keepdim) / (keep.sum(dim, keepdim) - int(unbiased))
