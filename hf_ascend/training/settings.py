"""The callbacks that a Trainer gets without being asked in the script."""

import os
from pathlib import Path
from typing import Any

from hf_ascend.training.monitor import MonitorCallback
from hf_ascend.training.report import Report

_reports = 0


def _next_report(path: str) -> str:
    """HF_ASCEND_REPORT's path for the first training of the process, path-2 for the second, ..."""
    global _reports
    _reports += 1
    file = Path(path)
    return path if _reports == 1 else str(file.with_name(f"{file.stem}-{_reports}{file.suffix}"))


def add_callbacks(trainer: Any) -> None:
    """Add what HF_ASCEND_MONITOR=1 and HF_ASCEND_REPORT=FILE ask for, and the monitor that a report draws from."""
    has = lambda kind: any(isinstance(c, kind) for c in trainer.callback_handler.callbacks)  # noqa: E731
    path = os.environ.get("HF_ASCEND_REPORT")
    if path and not has(Report):
        trainer.add_callback(Report(_next_report(path)))
    if (os.environ.get("HF_ASCEND_MONITOR") == "1" or has(Report)) and not has(MonitorCallback):
        trainer.add_callback(MonitorCallback())
