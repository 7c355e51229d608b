"""The Trainer's features against real transformers, both in this process: the same logs and the same weights."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import hf_ascend
from hub_server import Hub

CONFIG: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
_random = np.random.RandomState(0)
FULL = [{"input_ids": r.tolist(), "labels": r.tolist()} for r in _random.randint(1, 64, (24, 12))]
RAGGED = [{k: v[: 4 + i % 9] for k, v in row.items()} for i, row in enumerate(FULL)]
SIDES = {"theirs": (torch, transformers), "ours": (hf_ascend.torch, hf_ascend.transformers)}


@dataclasses.dataclass
class Side:
    """One of the two worlds, and what a case has added to the Trainer's arguments there."""

    torch: ModuleType
    transformers: ModuleType
    made: dict[str, Any] = dataclasses.field(default_factory=dict)
    cls: Any = None


def padded(side: Side) -> None:
    """Rows of different lengths, padded in a collator of the test's own."""

    def collate(rows: list[dict]) -> dict:
        width = max(len(r["input_ids"]) for r in rows)
        fill = lambda name, value: side.torch.tensor([r[name] + [value] * (width - len(r[name])) for r in rows])  # noqa: E731
        ids = fill("input_ids", 0)
        return {"input_ids": ids, "labels": fill("labels", -100), "attention_mask": (ids != 0).long()}

    side.made.update(train_dataset=RAGGED, data_collator=collate)


def flattened(side: Side) -> None:
    """Rows of different lengths in one row, told apart by their positions."""
    side.made.update(train_dataset=RAGGED, data_collator=side.transformers.DataCollatorWithFlattening())


def iterable(side: Side) -> None:
    """A dataset without a length."""

    class Stream(side.torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from FULL

    side.made.update(train_dataset=Stream())


def own_loss(side: Side) -> None:
    """A Trainer with a loss of its own."""

    class Own(side.transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            out = model(input_ids=inputs["input_ids"])
            rows = out.logits[:, :-1].reshape(-1, 64)
            loss = side.torch.nn.functional.cross_entropy(
                rows, inputs["labels"][:, 1:].reshape(-1), label_smoothing=0.2
            )
            return (loss, out) if return_outputs else loss

    side.cls = Own


def loss_function(side: Side) -> None:
    """A loss function given to the Trainer."""

    def loss(outputs, labels, num_items_in_batch=None):
        rows = outputs.logits[:, :-1].reshape(-1, 64)
        total = side.torch.nn.functional.cross_entropy(rows, labels[:, 1:].reshape(-1), reduction="sum")
        return total / num_items_in_batch

    side.made.update(compute_loss_func=loss)


def callback(side: Side) -> None:
    """A callback that changes gradients and asks for an evaluation, and logs by the Trainer."""

    class Halving(side.transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            for p in model.parameters():
                p.grad.mul_(0.5)

        def on_step_end(self, args, state, control, **kwargs):
            control.should_evaluate = state.global_step == 2

    side.made.update(callbacks=[Halving()])


def early(side: Side) -> None:
    """Stops when the loss is not better by 1."""
    side.made.update(callbacks=[side.transformers.EarlyStoppingCallback(2, 1.0)])


def scheduled(side: Side) -> None:
    """An optimizer and a schedule that the script makes."""

    class Own(side.transformers.Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = side.torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
            self.lr_scheduler = side.torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
            return self.optimizer

    side.cls = Own


_STEPS = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
_BEST = {**_STEPS, "load_best_model_at_end": True, "metric_for_best_model": "loss", "save_total_limit": 1}
_LENGTHS = (
    {"train_sampling_strategy": "group_by_length"}
    if "train_sampling_strategy" in {f.name for f in dataclasses.fields(transformers.TrainingArguments)}
    else {"group_by_length": True}
)
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (None, {}),
    "accumulation": (padded, {"gradient_accumulation_steps": 3}),
    "neftune": (None, {"neftune_noise_alpha": 5}),
    "label smoothing": (None, {"label_smoothing_factor": 0.1}),
    "grouped by length": (padded, _LENGTHS),
    "best model": (None, {**_BEST, "learning_rate": 0.05, "max_steps": 5}),
    "early stopping": (early, {**_BEST, "max_steps": 9}),
    "own loss": (own_loss, {}),
    "loss function": (loss_function, {"gradient_accumulation_steps": 2}),
    "callback": (callback, {}),
    "iterable dataset": (iterable, {}),
    "workers": (None, {"dataloader_num_workers": 1}),
    "packed": (flattened, {}),
    "own optimizer": (scheduled, {}),
    "checkpointing": (None, {"gradient_checkpointing": True}),
    "batches left over": (None, {"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 5}),
    "tokens seen": (padded, {"include_num_input_tokens_seen": "non_padding"}),
    **{
        name: (None, {"optim": name, "lr_scheduler_type": schedule})
        for name, schedule in {
            "adamw_torch": "cosine", "adafactor": "constant_with_warmup", "sgd": "polynomial",
            "rmsprop": "inverse_sqrt", "adagrad": "cosine_with_restarts",
        }.items()
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(5)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).save_pretrained(folder)
    return folder


def trained(name: str, case: str, start: Path, out: Path) -> tuple[list[dict], dict[str, np.ndarray]]:
    """The log history without times, and the final weights."""
    side = Side(*SIDES[name])
    setup, options = CASES[case]
    if setup is not None:
        setup(side)
    args = {
        "max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "warmup_steps": 1, "logging_steps": 1,
        "report_to": [], "save_strategy": "no", "disable_tqdm": True, "seed": 7, "use_cpu": True,
    }  # fmt: skip
    made = {"train_dataset": FULL, "eval_dataset": FULL[:6], **side.made}
    trainer = (side.cls or side.transformers.Trainer)(
        model=side.transformers.LlamaForCausalLM.from_pretrained(start),
        args=side.transformers.TrainingArguments(output_dir=str(out / name), **{**args, **options}),
        **made,
    )
    trainer.train()
    history = [
        {k: v for k, v in h.items() if "runtime" not in k and "per_second" not in k} for h in trainer.state.log_history
    ]
    if trainer.state.best_model_checkpoint:
        history.append({"best": Path(trainer.state.best_model_checkpoint).name, "kept": sorted(os.listdir(out / name))})
    return history, {k: np.array(v.detach().numpy()) for k, v in trainer.model.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same(case, start, tmp_path):
    theirs, ours = (trained(name, case, start, tmp_path) for name in SIDES)
    assert len(ours[0]) == len(theirs[0])
    for mine, want in zip(ours[0], theirs[0], strict=True):
        assert mine.keys() == want.keys()
        for key, value in want.items():
            assert mine[key] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), key
    assert ours[1].keys() == theirs[1].keys()
    for key, value in theirs[1].items():
        np.testing.assert_allclose(ours[1][key], value, atol=2e-6, err_msg=key)


def test_checkpoints_are_pushed_whole_while_training(start, tmp_path):
    hub = Hub(tmp_path / "hub")
    hub.writers["hf_writer"] = "user"
    script = tmp_path / "push.py"
    script.write_text(
        "import json, sys\n"
        "from hf_ascend import LlamaForCausalLM, Trainer, TrainingArguments\n"
        "args = TrainingArguments(sys.argv[2], **json.loads(sys.argv[3]))\n"
        f"rows = {FULL[:8]!r}\n"
        "trainer = Trainer(model=LlamaForCausalLM.from_pretrained(sys.argv[1]), args=args, train_dataset=rows)\n"
        "trainer.train()\n"
        "trainer.push_to_hub()\n"
    )
    options = {
        "max_steps": 2, "save_strategy": "steps", "save_steps": 1, "report_to": [], "disable_tqdm": True,
        "use_cpu": True, "push_to_hub": True, "hub_model_id": "user/tiny", "hub_strategy": "all_checkpoints",
        "hub_always_push": True,
    }  # fmt: skip
    settings = {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_writer", "HF_HUB_OFFLINE": "0", "NO_PROXY": "*",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, script, start, tmp_path / "out", json.dumps(options)], env={**os.environ, **settings},
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    hub.shutdown()
    hub.server_close()
    assert done.returncode == 0, done.stderr
    pushed = {str(p.relative_to(hub.root / "user/tiny/main")) for p in (hub.root / "user/tiny/main").rglob("*")}
    for step in (1, 2):
        local = {f"checkpoint-{step}/{n}" for n in os.listdir(tmp_path / "out" / f"checkpoint-{step}")}
        assert local <= pushed
    assert {"model.safetensors", "config.json", "README.md"} <= pushed
    assert not [n for n in pushed if "saving" in n]
    state = json.loads((hub.root / "user/tiny/main/checkpoint-2/trainer_state.json").read_text())
    assert state["global_step"] == 2
