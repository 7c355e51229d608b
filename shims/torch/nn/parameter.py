"""torch.nn.parameter: a parameter here is a mindspore.Parameter; upstream's are PyTorch tensors."""

from typing import Any

from .._tensor import Parameter, Tensor


class UninitializedTensorMixin:
    """Base name of lazily shaped tensors, which lazy modules would need."""


class UninitializedParameter(UninitializedTensorMixin):
    """A parameter without a shape yet; lazy modules are not supported on MindSpore."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise NotImplementedError("lazy modules: give the layer its input size instead")


class UninitializedBuffer(UninitializedParameter):
    """A buffer without a shape yet."""


class Buffer(Tensor):
    """A tensor that a module registers as a buffer when assigned."""

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        from .. import empty

        made = (empty(0) if data is None else data).detach()
        made.__class__ = Buffer
        made.persistent = persistent
        return made


def is_lazy(param: Any) -> bool:
    """Whether the parameter has no shape yet: never here."""
    return isinstance(param, UninitializedTensorMixin)


__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]
