"""The CANN operators behind the cann faces: MindSpore's own on Ascend, their emulation in the "emulated" mode.

A face says `call("RmsNorm", {"epsilon": eps}, x, weight)`. The call is checked against the operator's contract
first, because MindSpore's front end checks next to nothing and the device kernel's own complaint names no cause.
"""

import functools
import importlib
from typing import Any

from . import registry
from .cann.contracts import CONTRACTS


def call(name: str, attributes: dict[str, Any], *args: Any) -> Any:
    """The outputs of operator `name`, constructed with `attributes`, on `args` (tensors, lists of one tensor, None).

    Raises ContractError when the operator does not take these arguments.
    """
    contract = CONTRACTS[name]
    tensors = tuple(a[0] if isinstance(a, (list, tuple)) else a for a in args)
    contract.require(tensors, attributes)
    constructed = tuple((k, v) for k, v in attributes.items() if k not in contract.trailing)
    trailing = [attributes[k] for k in contract.trailing if k in attributes]
    return _wrap(_instance(name, registry.mode() == "emulated", constructed)(*args, *trailing))


@functools.lru_cache(256)
def _instance(name: str, emulated: bool, attributes: tuple[tuple[str, Any], ...]) -> Any:
    module = f"{__package__}.emulated.operators" if emulated else "mindspore.ops.auto_generate"
    return getattr(importlib.import_module(module), name)(**dict(attributes))


def _wrap(outputs: Any) -> Any:
    from hf_ascend.torch._registry import wrap

    return wrap(outputs)
