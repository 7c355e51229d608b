"""What a worker process of the sweep does: imports both worlds once, then runs entries one by one."""

import importlib.util
import os
import sys
import warnings
from typing import Any

from hf_ascend.conformance import build, catalog


def start(log: str, threads: int, overlay: str | None) -> None:
    """Prepare the process: output to the file `log`, `threads` threads, `overlay` before the installed packages."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        OMP_NUM_THREADS=str(threads),
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )
    if overlay:
        sys.path.insert(0, overlay)
    warnings.filterwarnings("ignore")
    import torch
    import transformers

    import hf_ascend
    import hf_ascend.conformance.checks
    from hf_ascend.conformance import vision

    vision.ready()
    torch.set_num_threads(threads)
    hf_ascend.torch.set_num_threads(threads)
    for world in (transformers, hf_ascend.transformers):
        world.logging.set_verbosity_error()
        world.logging.disable_progress_bar()


def run(name: str, checks: tuple[str, ...], seed: int | None) -> dict[str, Any]:
    """The results of one entry; see `checks.run`.

    Two more statuses: "missing" says which packages an entry needs, "absent" that this release lacks the class.
    """
    import transformers

    from hf_ascend.conformance import checks as module

    entry = catalog.entries()[name]
    print(f"== {name}", flush=True)
    needed = [r for r in entry.requires if importlib.util.find_spec(r) is None]
    if needed:
        result = _without(entry, checks, "missing", f"needs {', '.join(needed)}")
    elif not _exists(entry):
        # The catalogue's own release has all classes: there it is a failure.
        status = "missing" if transformers.__version__ == catalog.release() else "absent"
        result = _without(entry, checks, status, f"not in transformers {transformers.__version__}")
    else:
        result = module.run(entry, checks, seed)
    return {**result, "transformers": transformers.__version__}


def _without(entry: catalog.Entry, checks: tuple[str, ...], status: str, message: str) -> dict[str, Any]:
    found = {c: {"status": status, "message": message} for c in checks}
    return {"name": entry.name, "seconds": 0.0, "checks": found, "fallbacks": {}}


def _exists(entry: catalog.Entry) -> bool:
    """Whether this release of transformers has the entry's config and model."""
    import transformers

    if entry.model_type not in transformers.CONFIG_MAPPING:
        return False
    try:
        build.model_class(entry, transformers)
    except AttributeError:
        return False
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("transformers.models."):
            raise
        return False
    return True
