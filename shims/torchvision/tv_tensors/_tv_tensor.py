"""torchvision.tv_tensors._tv_tensor, executed, with the methods that keep a tensor's kind.

Operators give plain tensors here as there. Upstream excepts `clone`, `to` and three more by `__torch_function__`, which
nothing calls here.
"""

from typing import Any

from hf_ascend import torch

from . import _torch_function_helpers as helpers
from ._tv_tensor__upstream import TVTensor

__all__ = ["TVTensor"]


def _keeping(name: str) -> Any:
    method = getattr(torch.Tensor, name)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return type(self)._wrap_output(method(self, *args, **kwargs), (self,))

    call.__name__, call.__doc__ = name, method.__doc__
    return call


for _name in ("clone", "to", "detach", "requires_grad_", "pin_memory"):
    setattr(TVTensor, _name, _keeping(_name))


def _only_tensors(return_type: str) -> Any:
    if return_type.lower() != "tensor":
        raise NotImplementedError('set_return_type("TVTensor"): operators give plain tensors on MindSpore')
    return _set_return_type(return_type)


_set_return_type, helpers.set_return_type = helpers.set_return_type, _only_tensors
