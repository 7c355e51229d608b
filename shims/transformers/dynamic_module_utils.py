"""transformers.dynamic_module_utils, executed, with a model's own code imported through the retargeting finder.

Upstream imports such files with importlib's ordinary loader, under a name that real transformers uses too.
Here `transformers_modules.<...>` is `hf_ascend.transformers_modules.<...>`, found like any retargeted module,
so relative imports, tracebacks and the cache of compiled code work; configuration files stay shared with AutoConfig.
"""

import hashlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from hf_ascend.retarget.rewrite import PREFIX

from . import dynamic_module_utils__upstream as upstream
from .dynamic_module_utils__upstream import *  # noqa: F403
from .dynamic_module_utils__upstream import HF_MODULES_CACHE, get_relative_import_files, init_hf_modules


def get_class_in_module(class_name: str, module_path: str | os.PathLike, *, force_reload: bool = False) -> type:
    """The class `class_name` of the file `module_path` below the cache of dynamic modules.

    The file is read again when it, or a file it imports relatively, has changed, or with `force_reload`.
    Raises AttributeError when the file has no such class, and what the file's own code raises.
    """
    init_hf_modules()
    importlib.invalidate_caches()
    file = Path(HF_MODULES_CACHE) / module_path
    name = PREFIX + os.path.normpath(module_path).removesuffix(".py").replace(os.path.sep, ".")
    files = [file, *sorted(map(Path, get_relative_import_files(file)))]
    digest = hashlib.sha256(b"".join(bytes(f) + f.read_bytes() for f in files)).hexdigest()
    with upstream._HF_REMOTE_CODE_LOCK:
        loaded = sys.modules.get(name)
        if force_reload or getattr(loaded, "__transformers_module_hash__", digest) != digest:
            for part in files:
                sys.modules.pop(f"{name.rpartition('.')[0]}.{part.stem}", None)
        module = importlib.import_module(name)
        if module.__name__ == name:  # a shared configuration file is not ours to mark
            module.__transformers_module_hash__ = digest  # type: ignore[attr-defined]
        return getattr(module, class_name)


upstream.get_class_in_module = get_class_in_module  # what get_class_from_dynamic_module calls


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
