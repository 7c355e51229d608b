"""Processes that msrun starts must not train copies of a model in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_ascend.runtime import workers

SCRIPT = """
import sys
from hf_ascend import torch
from hf_ascend.runtime import workers

layer = torch.nn.Linear(2, 1)
try:
    layer(torch.ones(1, 2)).sum().backward()
    print("TRAINED", workers.count())
except RuntimeError as error:
    print("REFUSED", error)
"""


@pytest.mark.parametrize(("independent", "says"), [("", "REFUSED 2 processes were started"), ("1", "TRAINED 2")])
def test_msruns_copies_refuse_to_train_apart_unless_told(tmp_path, monkeypatch, independent, says):
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.setenv("HF_ASCEND_INDEPENDENT_WORKERS", independent)
    bin_folder = Path(sys.executable).parent  # msrun starts the `python` that PATH finds
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    command = [
        bin_folder / "msrun",
        "--worker_num=2",
        "--local_worker_num=2",
        "--join=True",
        f"--log_dir={tmp_path}/log",
        "train.py",
    ]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=240)
    logs = [p.read_text() for p in sorted((tmp_path / "log").glob("worker_*.log"))]
    assert len(logs) == 2
    for log in logs:
        assert says in log


def test_one_process_is_alone(monkeypatch):
    for name in ("MS_WORKER_NUM", "RANK_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert workers.count() == 1
    workers.check_training()
    monkeypatch.setenv("MS_WORKER_NUM", "8")
    with pytest.raises(RuntimeError, match="8 processes"):
        workers.check_training()
