"""torch.func: function transforms."""

from typing import Any

from . import vmap


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, **options: Any
) -> Any:
    """Call a module with other parameters and buffers."""
    from .nn.utils.stateless import functional_call as call

    return call(module, parameter_and_buffer_dicts, args, kwargs, **options)


__all__ = ["functional_call", "vmap"]
