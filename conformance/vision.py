"""Makes torchvision importable beside a torch that its binary was not built for.

timm and real transformers' image processors need torchvision's Python, none of its compiled operators. PyPI's wheels of
torchvision are linked against CUDA; beside the CPU build of torch their library does not load, and then
`import torchvision` fails while it registers shape functions for operators that nobody defined.
"""

import functools
import importlib.util
import sys
from typing import Any

_NAMESPACE: list[Any] = []  # a definition lasts as long as the Library object
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def ready() -> bool:
    """Whether real torchvision can be imported, after defining what an unfit binary leaves undefined.

    Nothing changes where torchvision is absent or works. An operator that is defined here has no kernel, so
    that a call of it raises NotImplementedError.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        library = torch.library.Library("torchvision", "FRAGMENT")
        _NAMESPACE.append(library)
        for name in _OPERATORS:
            library.define(name + _SCHEMA)
        import torchvision  # noqa: F401
    return True
