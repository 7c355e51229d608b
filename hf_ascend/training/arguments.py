"""Training arguments that belong to other devices: said once where training goes on without, refused where it cannot.

What bf16 and fp16 do is autocast's to say (shims/torch/amp/autocast_mode.py).
"""

import logging
from typing import Any

logger = logging.getLogger("hf_ascend")
_said: set[str] = set()

_REFUSED = {
    "fsdp": "fsdp shards a model over several devices, and hf_ascend trains on one: torch.distributed is not mapped "
    "onto MindSpore's process groups yet. Leave fsdp out. What needs less memory on one device: "
    "gradient checkpointing, a smaller batch with gradient_accumulation_steps, LoRA.",
    "deepspeed": "DeepSpeed shards a model over several devices with kernels of its own for CUDA and PyTorch, none of "
    "which run on MindSpore. Leave deepspeed out. What needs less memory on one device: gradient checkpointing, a "
    "smaller batch with gradient_accumulation_steps, LoRA.",
}
_WITHOUT = {
    "tf32": "tf32=True: TF32 is a mode of NVIDIA's GPUs. float32 is computed in full precision here.",
    "use_liger_kernel": "use_liger_kernel=True: Liger's kernels are Triton programs for GPUs and change no results. "
    "Training goes on without them; hf_ascend has fused kernels of its own for Ascend.",
}
_CAPTURED = (
    "torch_compile=True: the forward is captured as MindSpore graphs, one for each shape of batch, at its first batch. "
    "See docs/TRAINING.md."
)
_COMPILER = ("torch_compile_backend", "torch_compile_mode")
"""Either of them turns torch_compile on."""


class UnsupportedArgumentError(NotImplementedError):
    """A training argument that this device cannot carry out; the message says why."""


def note(text: str) -> None:
    """Say something once in a process."""
    if text not in _said:
        _said.add(text)
        logger.warning(text)


def settle(args: Any) -> None:
    """Take from TrainingArguments what changes no results here, with a note; raise for what cannot be done."""
    for name, why in _REFUSED.items():
        if getattr(args, name, None):
            raise UnsupportedArgumentError(f"{name}: {why}")
    if any(getattr(args, name, None) for name in _COMPILER):
        args.torch_compile = True
    if getattr(args, "torch_compile", None):  # PyTorch's compiler stays out of it
        args.torch_compile, args.hf_ascend_capture = False, True
        note(_CAPTURED)
    for name, why in _WITHOUT.items():
        if getattr(args, name, None):
            note(why)
            setattr(args, name, None if name == "tf32" else False)
    for name in _COMPILER:
        if hasattr(args, name):
            setattr(args, name, None)
    if args.bf16 or args.fp16:  # accelerate enters no autocast region for fp16 on the CPU
        from hf_ascend.shims.torch.amp import autocast_mode

        autocast_mode.tell()
