"""The Trainer's checkpoints: damage is found before anything is loaded, and named by its file."""

import json
import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from hf_ascend.loading.staging import staged_folder

logger = logging.getLogger("hf_ascend")

_NAME = re.compile(r"checkpoint-(\d+)")
_STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
"""Written together, or not at all with save_only_model=True."""
_NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


class DamagedCheckpointError(OSError):
    """A file of a checkpoint is missing or cut off; the message names it."""


def _unreadable(file: Path) -> str | None:
    """What is wrong with a file, by its structure; its numbers are not read."""
    if file.suffix == ".json":
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"is not valid JSON ({error})"
    elif file.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="np"):
                pass
        except SafetensorError as error:
            return f"is cut off or not a safetensors file ({error})"
    elif file.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(file):
        with open(file, "rb") as f:
            if f.read(1) != b"\x80":  # what pickles, torch.save's format of old, begin with
                return "is cut off or not a file of torch.save"
    return None


def _absent(folder: Path, files: list[Path]) -> str | None:
    """The name of a file that is missing."""
    if not (folder / "trainer_state.json").is_file():
        return "trainer_state.json"
    for index in (f for f in files if f.name.endswith(".index.json")):
        for shard in sorted(set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())):
            if not (index.parent / shard).is_file():
                return str((index.parent / shard).relative_to(folder))
    if not any(f.suffix in (".safetensors", ".bin") and f.name not in _NOT_WEIGHTS for f in files):
        return "model.safetensors (or another file of weights)"
    states = [name for name in _STATE if (folder / name).is_file()]
    ranks = any(f.name.startswith("rng_state_") for f in files)  # of several processes
    if states and not ranks:
        return next((name for name in _STATE if name not in states), None)
    return None


def damage(folder: str | os.PathLike) -> str | None:
    """What is missing or cut off in a checkpoint's folder, beginning with the file's path; None if it is whole."""
    folder = Path(folder)
    if not folder.is_dir():
        return f"{folder} is not a folder"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for file in files:
        if (wrong := _unreadable(file)) is not None:
            return f"{file} {wrong}"
    name = _absent(folder, files)
    return None if name is None else f"{folder / name} is missing"


def require_whole(folder: str | os.PathLike) -> None:
    """Raise DamagedCheckpointError, naming the file, if a checkpoint cannot be resumed from."""
    if (found := damage(folder)) is not None:
        raise DamagedCheckpointError(
            f"The checkpoint {os.fspath(folder)} is damaged: {found}. Take another one, or pass "
            "resume_from_checkpoint=True, which takes the newest whole one."
        )


def newest_whole(output_dir: str | os.PathLike) -> str | None:
    """The newest whole checkpoint of a training, None if there is none at all. Damaged ones are warned about.

    Raises DamagedCheckpointError if all are damaged.
    """
    root = Path(output_dir)
    found = [(int(m[1]), p) for p in (root.iterdir() if root.is_dir() else ()) if (m := _NAME.fullmatch(p.name))]
    problems = []
    for _, folder in sorted((f for f in found if f[1].is_dir()), reverse=True):
        if (wrong := damage(folder)) is None:
            return str(folder)
        logger.warning("The checkpoint %s is damaged and passed over: %s.", folder, wrong)
        problems.append(wrong)
    if problems:
        raise DamagedCheckpointError(f"Every checkpoint in {root} is damaged: {'; '.join(problems)}.")
    return None


def save_whole(trainer: Any, save: Any, rotate: Any, trial: Any) -> None:
    """Run upstream's `_save_checkpoint` (`save`) so that the checkpoint appears by one rename.

    It asks the Trainer for the folder of checkpoints, and is told one aside. What upstream does with the finished
    checkpoint, pushing it and removing old ones, follows the rename.
    """
    run_dir = trainer._get_output_dir(trial)
    pushes: list[str] = []
    state = trainer.state
    with staged_folder(os.path.join(run_dir, f"checkpoint-{state.global_step}")) as fresh:
        aside = str(fresh.parent)
        trainer._get_output_dir = lambda trial=None: aside
        trainer._push_from_checkpoint = pushes.append
        try:
            save()
        finally:
            del trainer._get_output_dir, trainer._push_from_checkpoint
            if str(state.best_model_checkpoint or "").startswith(aside):
                state.best_model_checkpoint = os.path.join(run_dir, os.path.basename(state.best_model_checkpoint))
        if (fresh / "trainer_state.json").is_file():  # again, now that the best checkpoint's path is the final one
            state.save_to_json(str(fresh / "trainer_state.json"))
    for folder in pushes:
        trainer._push_from_checkpoint(os.path.join(run_dir, os.path.basename(folder)))
    if trainer.args.should_save:
        rotate(
            output_dir=run_dir, save_total_limit=trainer.args.save_total_limit,
            best_model_checkpoint=state.best_model_checkpoint, use_mtime=True,
        )  # fmt: skip
