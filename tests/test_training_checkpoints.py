"""The Trainer's checkpoints: whole or absent, also when the process is killed; damage is named."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import training_common as common
from hf_ascend import Trainer, TrainerCallback
from hf_ascend.training.checkpoints import DamagedCheckpointError
from hf_ascend.transformers.trainer_utils import get_last_checkpoint

FILES = {"config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    trainer = common.make(tmp_path_factory.mktemp("whole"), **common.SAVING)
    trainer.train()
    return common.losses(trainer), common.weights(trainer)


def start(folder: Path, how: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, common.__file__, str(folder), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def resumed(folder: Path, **options) -> Trainer:
    trainer = common.make(folder, **{**common.SAVING, **options})
    trainer.train(resume_from_checkpoint=True)
    return trainer


def test_a_kill_while_a_checkpoint_is_written_leaves_the_earlier_ones_whole(tmp_path, uninterrupted):
    with start(tmp_path, "sigkill") as process:
        assert process.wait(200) == -signal.SIGKILL
    assert [n for n in names(tmp_path) if n.startswith("checkpoint")] == [f"checkpoint-{n}" for n in (10, 15, 5)]
    assert [n for n in names(tmp_path) if n.startswith("_saving-")]  # what the killed process had written
    assert get_last_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-15")
    assert set(names(tmp_path / "checkpoint-15")) >= FILES
    trainer = resumed(tmp_path)
    assert trainer.state.global_step == 30
    assert common.losses(trainer) == uninterrupted[0]
    assert same(common.weights(trainer), uninterrupted[1])
    assert not [n for n in names(tmp_path) if n.startswith("_saving-")]


def test_sigterm_ends_the_step_writes_a_checkpoint_and_stops(tmp_path, uninterrupted):
    with start(tmp_path, "sigterm") as process:
        assert any(line == "STEP 20\n" for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate("go\n", timeout=200)
    assert process.returncode == 0
    assert out.splitlines()[-1] == "STOPPED 20 True"
    assert names(tmp_path) == ["checkpoint-14", "checkpoint-20", "checkpoint-7"]
    trainer = resumed(tmp_path, save_steps=7)
    assert common.losses(trainer) == uninterrupted[0]
    assert same(common.weights(trainer), uninterrupted[1])


class TermCallback(TrainerCallback):
    """Sends SIGTERM to this process in the step after `step`."""

    def __init__(self, step: int):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "options", [{"save_strategy": "epoch"}, {"save_strategy": "no", "enable_jit_checkpoint": True}]
)
def test_a_script_s_own_handler_gets_sigterm_after_the_checkpoint(tmp_path, options):
    got = []

    def own(signum, frame):
        got.append(names(tmp_path))

    before = signal.signal(signal.SIGTERM, own)
    try:
        trainer = common.make(tmp_path, max_steps=5, callbacks=[TermCallback(1)], **options)
        trainer.train()
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [["checkpoint-2"]]
    assert trainer.state.global_step == 2


def test_a_trainer_that_saves_nothing_leaves_sigterm_alone(tmp_path):
    seen = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    common.make(tmp_path, max_steps=1, callbacks=[Look()]).train()
    threaded = common.make(tmp_path, max_steps=1, save_strategy="steps", save_steps=1, callbacks=[Look()])
    thread = threading.Thread(target=threaded.train)
    thread.start()
    thread.join()
    assert seen == [before, before]
    assert threaded.state.global_step == 1


def test_a_save_that_fails_leaves_no_checkpoint_and_the_earlier_one_whole(tmp_path):
    class Full(Trainer):
        def _save_rng_state(self, output_dir):
            if self.state.global_step == 2:
                raise OSError(28, "No space left on device", output_dir)
            super()._save_rng_state(output_dir)

    with pytest.raises(OSError, match="No space left"):
        common.make(tmp_path, Full, save_strategy="steps", save_steps=1).train()
    assert names(tmp_path) == ["checkpoint-1"]


@pytest.fixture(scope="module")
def three_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    common.make(folder, save_strategy="steps", save_steps=1).train()
    return folder


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("model.safetensors", "cut off"), ("optimizer.pt", "cut off"), ("rng_state.pth", "cut off"),
        ("trainer_state.json", "not valid JSON"), ("scheduler.pt", None), ("trainer_state.json", None),
        ("model.safetensors", None), ("rng_state.pth", None),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, three_checkpoints, caplog, file, told):
    for name in ("checkpoint-2", "checkpoint-3"):
        (tmp_path / name).mkdir()
        for path in (three_checkpoints / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / "checkpoint-3" / file
    if told is None:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    message = f"{damaged} is missing" if told is None else f"{damaged} .*{told}"
    if file == "model.safetensors" and told is None:
        message = f"{damaged} .*is missing"
    with pytest.raises(DamagedCheckpointError, match=message):
        common.make(tmp_path).train(resume_from_checkpoint=str(damaged.parent))
    trainer = common.make(tmp_path)
    trainer.train(resume_from_checkpoint=True)
    assert str(damaged) in caplog.text
    assert common.losses(trainer).keys() == {1, 2, 3}  # step 3 alone was repeated
    assert trainer.state.global_step == 3


def test_resuming_without_any_whole_checkpoint_names_all_that_is_damaged(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(DamagedCheckpointError, match="checkpoint-3/trainer_state.json is missing"):
        common.make(tmp_path).train(resume_from_checkpoint=True)
    (tmp_path / "checkpoint-3").rmdir()
    with pytest.raises(ValueError, match="No valid checkpoint found"):
        common.make(tmp_path).train(resume_from_checkpoint=True)


def test_the_best_checkpoint_is_kept_known_and_loaded(tmp_path):
    trainer = common.make(
        tmp_path, max_steps=4, save_strategy="steps", save_steps=1, eval_strategy="steps", eval_steps=1,
        save_total_limit=2, load_best_model_at_end=True, metric_for_best_model="loss",
    )  # fmt: skip
    trainer.train()
    best = trainer.state.best_model_checkpoint
    assert Path(best).parent == tmp_path
    assert best in (Path(best) / "trainer_state.json").read_text()
    assert "_saving" not in (tmp_path / "checkpoint-4" / "trainer_state.json").read_text()
    assert len(names(tmp_path)) == 2


def test_a_model_without_optimizer_state_can_be_resumed_from(tmp_path):
    common.make(tmp_path, save_strategy="steps", save_steps=2, save_only_model=True).train()
    trainer = common.make(tmp_path, max_steps=4)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 4
