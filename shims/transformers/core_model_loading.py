"""transformers.core_model_loading, executed, with tensors read in threads by PyTorch and wrapped by us.

Upstream's worker threads run tensor operators, and MindSpore's recording of those is not thread-safe; they
read ahead without bound, and fused weights are put together from copies of their parts. Either would hold a
checkpoint, or much of one, in memory twice.
"""

from typing import Any

from hf_ascend import torch
from hf_ascend.loading import fuse, stream

from . import core_model_loading__upstream as upstream
from .core_model_loading__upstream import *  # noqa: F403
from .core_model_loading__upstream import Concatenate, MergeModulelist, WeightConverter, WeightTransform

_spawn_materialize = upstream.spawn_materialize
_add_tensor = WeightTransform.add_tensor
_convert = WeightConverter.convert


def spawn_materialize(thread_pool: Any, tensor: Any, device: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Upstream's: a callable that gives `tensor` as `dtype`; `add_tensor` has it read ahead in the pool, if any.

    Other arguments differ from release to release. `sharding_op` is upstream's to carry out.
    """
    if kwargs.get("sharding_op") is not None or not isinstance(tensor, (stream.FileTensor, torch.Tensor)):
        return _spawn_materialize(None, tensor, device, dtype, **kwargs)
    window = None
    if thread_pool is not None:
        window = thread_pool.__dict__.setdefault("_hf_ascend_window", None) or stream.Window(thread_pool)
        thread_pool._hf_ascend_window = window
    return stream.Job(tensor, dtype, False, window)


def add_tensor(self: Any, target_key: str, source_key: str, source_pattern: str, future: Any) -> None:
    """Upstream's; what goes into a slot of a fused tensor is not read ahead."""
    if isinstance(future, stream.Job):
        future.own = isinstance(self, WeightConverter)  # it makes tensors of its own: the file's pages need not stay
        if not (future.own and fuse.fusible(self, MergeModulelist, Concatenate)):
            future.start()
    _add_tensor(self, target_key, source_key, source_pattern, future)


def convert(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Upstream's; stacks and concatenations are read straight into place."""
    if fuse.fusible(self, MergeModulelist, Concatenate) and (read := fuse.fused(self, Concatenate)):
        self.collected_tensors = {self.target_patterns[0]: [read]}
        self.operations = []  # of the copy that serves this one target
    return _convert(self, *args, **kwargs)


upstream.spawn_materialize = spawn_materialize
WeightTransform.add_tensor = add_tensor
WeightConverter.convert = convert


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
