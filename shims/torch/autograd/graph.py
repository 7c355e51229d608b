"""torch.autograd.graph: hooks on what is saved for the backward pass. Upstream's are C++."""

from typing import Any

from .._ms import ms


class saved_tensors_hooks:
    """Pack tensors when saved, unpack them when the gradient needs them; MindSpore's own mechanism."""

    def __init__(self, pack_hook: Any, unpack_hook: Any):
        self._inner = ms.saved_tensors_hooks(pack_hook, unpack_hook)

    def __enter__(self) -> None:
        self._inner.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._inner.__exit__(*exc)


class disable_saved_tensors_hooks:
    """Accepted; nothing here installs such hooks by itself."""

    def __init__(self, error_message: str = ""):
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


class Node:
    """Base name of graph nodes, for annotations."""


class save_on_cpu(saved_tensors_hooks):
    """Keep what is saved for the backward pass in host memory."""

    def __init__(self, pin_memory: bool = False, device_type: str = "npu"):
        super().__init__(lambda t: t.cpu(), lambda t: t)
