"""transformers.integrations.hub_kernels, executed, whose decorators hand layers and functions to our kernels.

Upstream's decorators do nothing unless the `kernels` package is there, and that one serves other devices.
"""

from collections.abc import Callable
from typing import Any

from hf_ascend.kernels import seams

from . import hub_kernels__upstream as upstream
from .hub_kernels__upstream import *


def _adopting(decorator: Callable[..., Any]) -> Callable[..., Any]:
    def use_kernel(layer_name: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Decorates a layer class or function that a kernel called `layer_name` may compute."""
        decorate = decorator(layer_name, *args, **kwargs)
        return lambda target: seams.adopt(layer_name, decorate(target))

    return use_kernel


use_kernel_forward_from_hub = _adopting(upstream.use_kernel_forward_from_hub)
use_kernel_func_from_hub = _adopting(upstream.use_kernel_func_from_hub)


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
