"""transformers.integrations.gguf.reader, executed, with the mapped file's pages given back once they are read."""

from typing import Any

from hf_ascend.loading.stream import give_back_file

from . import reader__upstream as upstream
from .reader__upstream import *  # noqa: F403
from .reader__upstream import LazyGgufTensor

_getitem = LazyGgufTensor.__getitem__


def getitem(self: Any, key: Any) -> Any:
    out = _getitem(self, key)
    give_back_file(self.data)
    return out


LazyGgufTensor.__getitem__ = getitem


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
