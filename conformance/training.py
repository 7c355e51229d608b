"""Fifty training steps, against PyTorch: `hf-ascend conformance training`.

Six ways to train, each once with real transformers on PyTorch and once here, in one process: the Trainer on a Llama, on
a BERT classifier with rows of different lengths, a T5 with Seq2SeqTrainer, LoRA, a plain loop with clipping and a
schedule, and an Accelerator that accumulates four batches. Weights and data are the same, float32, without dropout.
Compared are the loss of every step (relative) and the final weights (relative to the largest of each tensor, and to 1).
"""

import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LOSS, WEIGHTS = 1e-4, 1e-3
"""The differences allowed."""


@dataclass
class World:
    """The packages of one side, and where it finds the weights and leaves its files."""

    torch: Any
    transformers: Any
    package: Callable[[str], Any]
    start: Path
    out: Path
    steps: int


def worlds(start: Path, out: Path, steps: int) -> tuple[World, World]:
    """(PyTorch's, ours)."""
    found = []
    for prefix in ("", "hf_ascend."):
        package = lambda name, prefix=prefix: importlib.import_module(prefix + name)  # noqa: E731
        found.append(World(package("torch"), package("transformers"), package, start, out, steps))
    return found[0], found[1]


def _model(world: World, name: str, **config: Any) -> Any:
    """A model of class `name` with weights that real transformers drew, whichever side asks."""
    folder = world.start / name
    if not folder.exists():
        real = importlib.import_module("transformers")
        importlib.import_module("torch").manual_seed(0)
        cls = getattr(real, name)
        cls(cls.config_class(**config)).save_pretrained(folder)
    return getattr(world.transformers, name).from_pretrained(folder)


def _llama(world: World) -> Any:
    return _model(
        world, "LlamaForCausalLM", vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip


def _rows(world: World, width: int = 16) -> list[Any]:
    return [world.torch.tensor(r) for r in np.random.RandomState(0).randint(1, 128, (64, width))]


def _trained(world: World, kind: str, model: Any, rows: Any, **more: Any) -> tuple[list[float], Any]:
    """(losses, model) of a training by the class `kind`; `arguments` among `more` go to its arguments."""
    cls = getattr(world.transformers, kind)
    losses: list[float] = []

    class Record(world.transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    arguments = getattr(world.transformers, {"Trainer": "TrainingArguments"}.get(kind, "Seq2SeqTrainingArguments"))
    args = arguments(
        output_dir=str(world.out), max_steps=world.steps, per_device_train_batch_size=4, learning_rate=1e-3, seed=7,
        logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = cls(model=model, args=args, train_dataset=rows, callbacks=[Record()], **more)
    trainer.remove_callback(world.transformers.PrinterCallback)
    trainer.train()
    return losses, model


def llama(world: World) -> tuple[list[float], Any]:
    """The Trainer on a small Llama."""
    return _trained(world, "Trainer", _llama(world), [{"input_ids": r, "labels": r} for r in _rows(world)])


def bert(world: World) -> tuple[list[float], Any]:
    """The Trainer on a small BERT classifier, rows padded by a collator."""
    model = _model(
        world, "BertForSequenceClassification", vocab_size=128, hidden_size=32, num_hidden_layers=2, num_labels=3,
        num_attention_heads=4, intermediate_size=64, max_position_embeddings=32, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    rows = [{"input_ids": r[: 4 + i % 12], "label": i % 3} for i, r in enumerate(_rows(world))]

    def collate(batch: list[Any]) -> dict[str, Any]:
        ids = world.torch.nn.utils.rnn.pad_sequence([b["input_ids"] for b in batch], batch_first=True)
        labels = world.torch.tensor([b["label"] for b in batch])
        return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}

    return _trained(world, "Trainer", model, rows, data_collator=collate)


def t5(world: World) -> tuple[list[float], Any]:
    """Seq2SeqTrainer on a small T5."""
    model = _model(
        world, "T5ForConditionalGeneration", vocab_size=128, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip
    return _trained(world, "Seq2SeqTrainer", model, [{"input_ids": r[:12], "labels": r[12:]} for r in _rows(world, 18)])


def lora(world: World) -> tuple[list[float], Any]:
    """The Trainer on LoRA by peft, both halves of the adapter drawn."""
    peft = world.package("peft")
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(_llama(world), config)
    with world.torch.no_grad():
        for i, (_, p) in enumerate(sorted((n, p) for n, p in model.named_parameters() if "lora_" in n)):
            values = np.random.RandomState(i).standard_normal(tuple(p.shape)).astype(np.float32) * 0.05
            p.copy_(world.torch.from_numpy(values))
    return _trained(world, "Trainer", model, [{"input_ids": r, "labels": r} for r in _rows(world)])


def _loop(world: World, accelerator: Any = None) -> tuple[list[float], Any]:
    torch, model = world.torch, _llama(world).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = world.transformers.get_scheduler("linear", optimizer, 5, world.steps)
    torch.manual_seed(11)
    loader = torch.utils.data.DataLoader(_rows(world), batch_size=4, shuffle=True)
    if accelerator is not None:
        model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    losses: list[float] = []
    while len(losses) < world.steps:
        for ids in loader:
            if len(losses) == world.steps:
                break
            if accelerator is None:
                loss = model(input_ids=ids, labels=ids).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            else:
                with accelerator.accumulate(model):
                    loss = model(input_ids=ids, labels=ids).loss
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
            losses.append(loss.item())
    return losses, model


def plain(world: World) -> tuple[list[float], Any]:
    """A plain loop: backward, clipping, AdamW, a linear schedule with warm-up."""
    return _loop(world)


def accelerator(world: World) -> tuple[list[float], Any]:
    """The loop with an Accelerator that accumulates four batches."""
    return _loop(world, world.package("accelerate").Accelerator(gradient_accumulation_steps=4, cpu=True))


CASES: dict[str, Callable[[World], tuple[list[float], Any]]] = {
    f.__name__: f for f in (llama, bert, t5, lora, plain, accelerator)
}


def run(case: str, steps: int) -> tuple[float, float, int]:
    """(largest relative difference of a loss, largest relative difference of a final weight, steps compared)."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for world in worlds(Path(folder) / "start", Path(folder) / "out", steps):
            losses, model = CASES[case](world)
            found.append((losses, {k: v.detach().float().numpy().copy() for k, v in model.state_dict().items()}))
    (a, wanted), (b, got) = found
    if len(a) != len(b) or wanted.keys() != got.keys() or not np.isfinite(a).all():
        raise ValueError(f"{case}: {len(b)} losses and {len(got)} tensors, not {len(a)} and {len(wanted)}")
    loss = max(abs(x - y) / abs(x) for x, y in zip(a, b, strict=True))
    weights = max(float(np.abs(got[k] - w).max() / max(1.0, np.abs(w).max())) for k, w in wanted.items())
    return loss, weights, len(a)
