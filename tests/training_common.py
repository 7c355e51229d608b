"""What the tests of training share: a tiny Llama with dropout, its data, and arguments that keep a Trainer quiet.

As a program, `training_common.py FOLDER HOW`, it trains and dies at step 20 of 30, in the way that HOW names.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hf_ascend import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

CONFIG: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "attention_dropout": 0.1,
}  # fmt: skip
ROWS = [{"input_ids": r.tolist(), "labels": r.tolist()} for r in np.random.RandomState(0).randint(0, 64, (24, 8))]


def arguments(folder: Path | str, **options: Any) -> TrainingArguments:
    """Training arguments for three short steps that save nothing, unless `options` say otherwise."""
    usual = {
        "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "report_to": [],
        "save_strategy": "no", "disable_tqdm": True, "use_cpu": True,
        "remove_unused_columns": False,
    }  # fmt: skip
    return TrainingArguments(output_dir=str(folder), **{**usual, **options})


def make(folder: Path | str, cls: type = Trainer, model: Any = None, rows: Any = None, **options: Any) -> Trainer:
    """A Trainer of a new tiny model; `callbacks` among the options go to the Trainer, the others to its arguments."""
    set_seed(3)
    model = model or LlamaForCausalLM(LlamaConfig(**CONFIG))
    callbacks = options.pop("callbacks", None)
    rows = ROWS if rows is None else rows
    args = arguments(folder, **options)
    return cls(model=model, args=args, train_dataset=rows, eval_dataset=rows[:4], callbacks=callbacks)


def losses(trainer: Trainer) -> dict[int, float]:
    """Step -> logged loss."""
    return {h["step"]: h["loss"] for h in trainer.state.log_history if "loss" in h}


def weights(trainer: Trainer) -> dict[str, np.ndarray]:
    """The model's weights as arrays."""
    return {k: v.detach().numpy() for k, v in trainer.model.state_dict().items()}


SAVING = {"max_steps": 30, "save_strategy": "steps", "save_steps": 5}


class SignalledCallback(TrainerCallback):
    """Says when step 20 is running, and waits until the signal has been sent."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Meet the other process."""
        if state.global_step == 19:
            print("STEP 20", flush=True)
            sys.stdin.readline()


class KilledWhileSaving(Trainer):
    """Dies in the middle of writing the checkpoint of step 20, with the model written and the random state not."""

    def _save_rng_state(self, output_dir: str) -> None:
        if self.state.global_step == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._save_rng_state(output_dir)


if __name__ == "__main__":
    folder, how = sys.argv[1:]
    if how == "sigkill":
        make(folder, KilledWhileSaving, **SAVING).train()
    else:
        trainer = make(folder, callbacks=[SignalledCallback()], **{**SAVING, "save_steps": 7})
        trainer.train()
        print("STOPPED", trainer.state.global_step, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
