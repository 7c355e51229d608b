"""Several processes at once: refuses to train copies of a model that never exchange gradients.

msrun starts N processes of one script. Until gradients are shared between them, each would train a model of its own
while it looks like data parallelism. A script that shares them itself says so with HF_ASCEND_INDEPENDENT_WORKERS=1.
"""

import os


def count() -> int:
    """How many processes msrun (or another launcher) started; 1 when this process is alone."""
    for name in ("MS_WORKER_NUM", "RANK_SIZE", "WORLD_SIZE"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return 1


def check_training() -> None:
    """Raise RuntimeError in one of several processes, unless they are meant to be independent."""
    if count() > 1 and os.environ.get("HF_ASCEND_INDEPENDENT_WORKERS") != "1":
        raise RuntimeError(
            f"{count()} processes were started, but hf_ascend does not share gradients between processes yet: each "
            "would train a model of its own. Start one process, or set HF_ASCEND_INDEPENDENT_WORKERS=1 if that is "
            "meant (separate experiments, or gradients that your script averages itself)"
        )
