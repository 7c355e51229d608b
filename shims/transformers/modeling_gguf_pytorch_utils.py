"""transformers.modeling_gguf_pytorch_utils, executed, where what was just dequantized is used and not copied again."""

import types
from typing import Any

import numpy

from hf_ascend import gguf

from . import modeling_gguf_pytorch_utils__upstream as upstream
from .modeling_gguf_pytorch_utils__upstream import *  # noqa: F403


class _Numpy(types.ModuleType):
    """numpy as that module sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy, name)

    @staticmethod
    def copy(a: Any, *args: Any, **kwargs: Any) -> Any:
        """numpy's."""
        return a if isinstance(a, numpy.ndarray) and gguf.take(a) else numpy.copy(a, *args, **kwargs)


upstream.np = _Numpy("numpy")


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
