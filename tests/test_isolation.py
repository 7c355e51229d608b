"""hf_ascend, real torch, real transformers and MindSpore side by side in one process: nobody notices the others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def report():
    probe = Path(__file__).with_name("isolation_probe.py")
    env = {**os.environ, "HF_ASCEND_DEVICE": "cpu"}
    done = subprocess.run([sys.executable, probe], env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_hf_ascend_was_really_used(report):
    assert report["used"] == {"learned": True, "generated": [1, 6], "tensor": "hf_ascend.torch._tensor"}


@pytest.mark.parametrize("world", ["torch", "transformers"])
def test_real_results_are_what_they_were(report, world):
    assert report["after"][world] == report["before"][world]


def test_mindspore_calls_give_what_they_gave(report):
    before, after = report["before"]["mindspore"], report["after"]["mindspore"]
    assert before["size"] == ["int", "6"]
    assert {k: (before[k], after[k]) for k in before if before[k] != after[k]} == {}


def test_no_real_module_was_changed(report):
    assert report["changed"]["modules"] == []


def test_no_real_class_was_changed(report):
    assert report["changed"]["classes"] == []


def test_no_attribute_of_mindspore_tensor_was_replaced(report):
    assert report["changed"]["tensor"] == []
