"""What training needs beyond upstream's Trainer, which is executed as it is.

`checkpoints`  whole or absent: damage is found and named, an earlier checkpoint taken.
`stopping`     SIGTERM ends the running step and writes a checkpoint.
`nonfinite`    a NaN or infinite loss is named with its step and the module it comes from.
`memory`       out of memory: what to turn on.
`arguments`    training arguments that this device cannot carry out.
`captured`     torch_compile=True: the forward as MindSpore graphs.
`monitor`      throughput, utilisation, step times and memory in the Trainer's logs; `flops` counts the operations.
`report`       the curves of a training as one HTML or PNG file, by `drawing`.
`lion`         the Lion optimizer, where bitsandbytes is not there.
`settings`     the callbacks that environment variables ask for.

The Trainer calls them from shims/transformers/trainer.py and the replacements beside it. Importing this package
imports neither torch nor mindspore.
"""

import importlib
from typing import Any

_WHERE = {"MonitorCallback": "monitor", "Report": "report", "NonFiniteCallback": "nonfinite", "Lion": "lion"}

__all__ = ["Lion", "MonitorCallback", "NonFiniteCallback", "Report"]  # noqa: F822  (made by __getattr__)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
