"""Throughput, utilisation, step times and memory, in the Trainer's own logs and so in every reporter's.

`Trainer.log` asks `add_to` for the numbers. They are averages over the steps since the last log; evaluation and
saving are not in them. On Ascend, where operators run behind Python, the parts of a step are Python's times and
only their sum is the device's.
"""

import os
import time
from pathlib import Path
from typing import Any

from hf_ascend import torch
from hf_ascend.runtime import choose_device
from hf_ascend.training import flops
from hf_ascend.transformers.trainer_callback import TrainerCallback


def _peak_memory() -> dict[str, float]:
    """The most memory that this process has had so far, and the most on the device, in 10^9 bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        held = {"peak_memory_gb": int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9}
    except (OSError, IndexError):
        held = {}
    if choose_device().target != "CPU":
        held["peak_device_memory_gb"] = torch.npu.max_memory_allocated() / 1e9
    return held


def _shape(args: tuple, kwargs: dict) -> tuple[int, int] | None:
    """(rows, length) of a batch of token ids or embeddings, None for other inputs."""
    x = kwargs.get("input_ids")
    x = kwargs.get("inputs_embeds") if x is None else x
    x = args[0] if x is None and args else x
    if x is None or x.ndim not in (2, 3) or (x.ndim == 2 and x.is_floating_point()):
        return None
    return int(x.shape[0]), int(x.shape[1])


class MonitorCallback(TrainerCallback):
    """Adds to the logs of a Trainer.

    `tokens_per_second`, `mfu` (model FLOPs utilisation), `time_step` with its parts `time_data`,
    `time_forward_backward` and `time_optimizer` (seconds), `peak_memory_gb`. Padding counts as tokens. Models whose
    inputs are no text have no tokens_per_second and no mfu.

    `peak_tflops` is what mfu is relative to. Without it, HF_ASCEND_PEAK_TFLOPS decides, and without that the NPU's
    data sheet or a measured matrix product. HF_ASCEND_MONITOR=1 adds this callback to every Trainer.
    """

    def __init__(self, peak_tflops: float | None = None):
        given = peak_tflops or float(os.environ.get("HF_ASCEND_PEAK_TFLOPS", 0)) or None
        self.peak = None if given is None else given * 1e12
        self._hook: Any = None
        self._counter: flops.Counter | None = None
        self._reset()

    def _reset(self) -> None:
        self.data = self.forward_backward = self.optimizer = self.operations = 0.0
        self.steps = self.tokens = 0

    def _count(self, module: Any, args: tuple, kwargs: dict) -> None:
        if not module.training or not torch.is_grad_enabled() or (shape := _shape(args, kwargs)) is None:
            return
        target = kwargs.get("labels")
        target = kwargs.get("decoder_input_ids") if target is None else target
        length = int(target.shape[1]) if target is not None and target.ndim == 2 else 0
        pair = self._counter is not None and self._counter.pair
        self.tokens += shape[0] * (shape[1] + (length if pair else 0))
        if self._counter is not None:
            self.operations += self._counter.count(*shape, target=length)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Count what the model is given from now on."""
        self._reset()
        if self._hook is not None:  # an earlier training was broken off
            self._hook.remove()
        self._hook = model.register_forward_pre_hook(self._count, with_kwargs=True)
        try:
            self._counter = flops.Counter(model)
        except AttributeError:  # no model of transformers, or without these fields in its config
            self._counter = None
        if self._counter is not None and self.peak is None:
            self.peak = flops.peak()
        self._mark = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model as it was."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _pause(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._mark = time.perf_counter()  # what happened until now is no waiting for data

    on_epoch_begin = on_log = on_evaluate = on_save = _pause

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The batches of the step are there."""
        now = time.perf_counter()
        self.data += now - self._mark
        self._mark = now

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The gradients are there, and clipped."""
        now = time.perf_counter()
        self.forward_backward += now - self._mark
        self._mark = now

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights have changed."""
        now = time.perf_counter()
        self.optimizer += now - self._mark
        self._mark = now
        self.steps += 1

    def take(self) -> dict[str, float]:
        """The numbers since the last call."""
        busy = self.data + self.forward_backward + self.optimizer
        if not self.steps or not busy:
            return {}
        found = {}
        if self.tokens:
            found["tokens_per_second"] = self.tokens / busy
        if self.operations and self.peak:
            found["mfu"] = self.operations / busy / self.peak
        found["time_step"] = busy / self.steps
        found["time_data"] = self.data / self.steps
        found["time_forward_backward"] = self.forward_backward / self.steps
        found["time_optimizer"] = self.optimizer / self.steps
        self._reset()
        return {name: float(f"{value:.4g}") for name, value in {**found, **_peak_memory()}.items()}


def add_to(logs: dict[str, float], callbacks: list[Any]) -> None:
    """Put a monitor's numbers into the logs of training steps."""
    if "loss" in logs:
        for callback in callbacks:
            if isinstance(callback, MonitorCallback):
                logs.update(callback.take())
