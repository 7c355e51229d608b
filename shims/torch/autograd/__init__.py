"""torch.autograd over MindSpore's imperative autograd. Upstream's drives PyTorch's C++ engine."""

from .._autograd import backward, grad
from .._grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from .._tensor import Tensor as Variable
from . import function, grad_mode, graph, profiler
from .function import Function

__all__ = [
    "Function",
    "backward",
    "enable_grad",
    "function",
    "grad",
    "grad_mode",
    "graph",
    "inference_mode",
    "no_grad",
    "profiler",
    "set_grad_enabled",
]


def _profiler_enabled() -> bool:
    return False
