"""transformers.utils.import_utils, executed, with `direct_transformers_import` giving the retargeted package.

Upstream's executes transformers/__init__.py once more and puts the result in the place of the package "transformers" in
sys.modules: that would change real transformers for everyone, and hand its classes to our processors.
"""

import importlib
from types import ModuleType
from typing import Any

from . import import_utils__upstream as upstream
from .import_utils__upstream import *  # noqa: F403


def direct_transformers_import(path: Any, file: str = "__init__.py") -> ModuleType:
    """The retargeted package `hf_ascend.transformers`; the arguments are upstream's and not needed."""
    return importlib.import_module(__name__.removesuffix(".utils.import_utils"))


upstream.direct_transformers_import = direct_transformers_import


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
