"""transformers.generation.utils, executed, with `generate` accepting foreign tensors.

`generate` is the one entry to a model besides its call, which converts its own arguments.
"""

from typing import Any

from hf_ascend.torch.nn.modules.module import accept

from . import utils__upstream as upstream
from .utils__upstream import *  # noqa: F403
from .utils__upstream import GenerationMixin

_generate = GenerationMixin.generate


def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Upstream's `generate`; real torch tensors, numpy arrays and MindSpore tensors are accepted."""
    return _generate(self, *(accept(a) for a in args), **{k: accept(v) for k, v in kwargs.items()})


generate.__wrapped__ = _generate  # type: ignore[attr-defined]
GenerationMixin.generate = generate


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
