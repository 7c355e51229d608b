"""torch.overrides: nothing overrides operators here. Upstream's is built around PyTorch's C++ dispatcher."""

from typing import Any

from ._tensor import Tensor


def has_torch_function(relevant_args: Any) -> bool:
    """Always False."""
    return False


has_torch_function_unary = has_torch_function_variadic = lambda *args: False


def handle_torch_function(public_api: Any, relevant_args: Any, *args: Any, **kwargs: Any) -> Any:
    """Never reached, since nothing overrides; calls the function."""
    return public_api(*args, **kwargs)


def is_tensor_like(x: Any) -> bool:
    """Whether x is a tensor."""
    return isinstance(x, Tensor)


def wrap_torch_function(dispatcher: Any) -> Any:
    """Leaves the function as it is."""
    return lambda fn: fn


class TorchFunctionMode:
    """Interception of operators, which does not exist here; entering one changes nothing."""

    def __enter__(self) -> "TorchFunctionMode":
        return self

    def __exit__(self, *exc: object) -> None:
        pass
