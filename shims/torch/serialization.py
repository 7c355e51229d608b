"""torch.save and torch.load: PyTorch's file format, read and written by PyTorch, with our tensors.

Upstream's code pickles PyTorch's storages; so tensors are exchanged for PyTorch's on the way.
"""

import collections
import pickle
from typing import Any

import torch as real

from ._fallback import from_real, to_real
from ._ms import MsParameter, MsTensor
from ._registry import NAMESPACE, wrap
from ._tensor import Parameter


def _exchange(x: Any, leaf: Any) -> Any:
    changed = leaf(x)
    if changed is not None:
        return changed
    if isinstance(x, dict):
        made = [(k, _exchange(v, leaf)) for k, v in x.items()]
        return type(x)(made) if type(x) in (dict, collections.OrderedDict) else dict(made)
    if type(x) in (list, tuple, set, frozenset):
        return type(x)(_exchange(v, leaf) for v in x)
    return x


def _ours(x: Any) -> Any:
    if not isinstance(x, real.Tensor):
        return None
    made = NAMESPACE["empty"](tuple(x.shape), dtype=x.dtype, device="meta") if x.is_meta else wrap(from_real(x))
    return Parameter(made, x.requires_grad) if isinstance(x, real.nn.Parameter) else made


def _theirs(seen: dict[Any, Any]) -> Any:
    def leaf(x: Any) -> Any:
        if not isinstance(x, MsTensor):
            return None
        key = (x.data_ptr(), tuple(x.shape), str(x.dtype)) if not x.is_meta else id(x)
        if key not in seen:  # tensors that share their memory share it in the file, too
            seen[key] = real.empty(tuple(x.shape), device="meta") if x.is_meta else to_real(x).clone()
        made = seen[key]
        if isinstance(x, MsParameter):
            return real.nn.Parameter(made, bool(x._requires_grad) and made.is_floating_point())
        return made

    return leaf


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None, mmap: Any = None,
    **pickle_load_args: Any,
) -> Any:  # fmt: skip
    """The object in a file or file-like `f`, with its tensors as MindSpore's.

    Unless `weights_only` is False, anything in it but tensors and plain data is refused with a
    pickle.UnpicklingError that names the file and what it wanted to build.
    """
    where = "meta" if str(map_location) == "meta" else "cpu"
    try:
        held = real.load(
            f, map_location=where, pickle_module=pickle_module, weights_only=weights_only, mmap=mmap, **pickle_load_args
        )
    except pickle.UnpicklingError as error:
        from hf_ascend.loading import checks

        raise checks.refused_pickle(f, error) from error
    return _exchange(held, _ours)


def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
    """Write an object to a file or file-like `f`, as PyTorch does; PyTorch reads it."""
    real.save(_exchange(obj, _theirs({})), f, *args, **kwargs)


def add_safe_globals(safe_globals: list) -> None:
    """Types that `weights_only` loading may construct."""
    real.serialization.add_safe_globals(safe_globals)


safe_globals = real.serialization.safe_globals
get_safe_globals = real.serialization.get_safe_globals
clear_safe_globals = real.serialization.clear_safe_globals
MAP_LOCATION = real.serialization.MAP_LOCATION
get_unsafe_globals_in_checkpoint = real.serialization.get_unsafe_globals_in_checkpoint
