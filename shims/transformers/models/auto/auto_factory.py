"""transformers.models.auto.auto_factory, executed; the Auto classes take all forms of the dtype argument.

They hand it to shared configs on the way to the model, and those know PyTorch's own dtypes only.
"""

from typing import Any

from hf_ascend.loading import checks, dtypes

from . import auto_factory__upstream as upstream
from .auto_factory__upstream import *  # noqa: F403
from .auto_factory__upstream import _BaseAutoModelClass

_from_pretrained = _BaseAutoModelClass.from_pretrained.__func__


def from_pretrained(cls: Any, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
    for name in ("dtype", "torch_dtype"):
        if name in kwargs:
            kwargs[name] = dtypes.to_real(dtypes.requested(kwargs[name]))
    try:
        return _from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs)
    except (ValueError, OSError) as error:
        told = checks.named(error, pretrained_model_name_or_path)
        if told is error:
            raise
        raise told from error


_BaseAutoModelClass.from_pretrained = classmethod(from_pretrained)


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
