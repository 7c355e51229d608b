"""Out of memory while training: the error says what to turn on, for the arguments that were given."""

import contextlib
from collections.abc import Iterator
from typing import Any

from hf_ascend.runtime import choose_device
from hf_ascend.torch import OutOfMemoryError

_TEXTS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "memory not enough",
    "memory is not enough", "allocate memory failed", "failed to allocate memory", "alloc memory failed",
    "alloc device memory failed", "malloc failed", "bad_alloc", "207001",
)  # fmt: skip
"""How MindSpore, CANN (207001 is its runtime's code) and PyTorch tell of it in a RuntimeError; in lower case."""


class TrainingOutOfMemoryError(OutOfMemoryError, MemoryError):
    """No memory for a training step. It is torch's OutOfMemoryError, a RuntimeError and a MemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of MindSpore, NumPy, PyTorch or Python means that memory ran out."""
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(t in text for t in _TEXTS)


def advice(args: Any) -> list[str]:
    """What lowers the memory that training with `args` needs and is not turned on yet."""
    lines = []
    new = hasattr(args, "activation_checkpointing")  # the name in newer releases of transformers
    if not (args.activation_checkpointing if new else args.gradient_checkpointing):
        name = (
            "activation_checkpointing=True (formerly gradient_checkpointing)" if new else "gradient_checkpointing=True"
        )
        lines.append(f"{name}: activations are computed twice instead of kept")
    if (size := args.per_device_train_batch_size) > 1:
        steps = args.gradient_accumulation_steps
        lines.append(
            f"per_device_train_batch_size={size // 2} with gradient_accumulation_steps={steps * 2}: the same batch in "
            f"smaller pieces (now {size} and {steps}); auto_find_batch_size=True looks for a size that fits"
        )
    lines.append("shorter sequences (max_length of the tokenizer or the data collator)")
    if "adafactor" not in str(args.optim).lower():
        lines.append('optim="adafactor": a fraction of the state that AdamW keeps for each weight')
    lines.append("LoRA (peft): gradients and optimizer state for a small part of the weights only")
    where = "" if choose_device().target == "Ascend" else "on Ascend, "
    lines.append(f'{where}the model in bfloat16 (from_pretrained(..., dtype="bfloat16")): half of the memory')
    return lines


@contextlib.contextmanager
def explained(trainer: Any) -> Iterator[None]:
    """Turn an out-of-memory error of the training loop into one with advice; the original is its cause."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, TrainingOutOfMemoryError) or not is_out_of_memory(error):
            raise
        lines = "".join(f"\n  - {line}" for line in advice(trainer.args))
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrainingOutOfMemoryError(
            # the words "out of memory." are what auto_find_batch_size looks for
            f"Training ran out of memory. It was in step {trainer.state.global_step + 1}: {first}\n"
            f"What needs less:{lines}"
        ) from error
