"""Hugging Face's Python on MindSpore and Huawei Ascend.

Every public name of the installed `transformers` is available here and runs on MindSpore::

    from hf_ascend import AutoModelForCausalLM, AutoTokenizer

`hf_ascend.torch` is the torch API over MindSpore and `hf_ascend.transformers` the retargeted package
those names come from. Importing this module is cheap: neither torch nor mindspore is imported until
a name is used.
"""

import importlib
from typing import Any

from hf_ascend.retarget import PACKAGES, install

__version__ = "0.1.0"

install()

_OWN = ("runtime", "kernels", "conformance", "shims", "loading", "generation", "training", "retarget", "cli")


def __getattr__(name: str) -> Any:
    if name in PACKAGES or name in _OWN:
        return importlib.import_module(f"{__name__}.{name}")
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    transformers = importlib.import_module(f"{__name__}.transformers")
    try:
        value = getattr(transformers, name)
    except AttributeError:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}: transformers {transformers.__version__} has no such name"
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    transformers = importlib.import_module(f"{__name__}.transformers")
    return sorted({*globals(), *PACKAGES, *_OWN, *dir(transformers)})
