"""torch._dynamo.utils: what libraries ask of PyTorch's compiler; the rest is absent."""

from typing import Any

from hf_ascend.retarget.finder import placeholder


def is_compile_supported(device_type: Any) -> bool:
    """True: `torch.compile` is accepted and leaves a function as it is."""
    return True


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return placeholder(f"torch._dynamo.utils.{name}", "PyTorch's compiler")
