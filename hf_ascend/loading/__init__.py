"""Checkpoints: what `from_pretrained` and `save_pretrained` do beside upstream's own code.

Upstream's loader is executed: it finds the files (`huggingface_hub` downloads them), renames and fuses
weights, and reports missing and unexpected keys. What it must be told about the device lives here, in the
order in which a load and a save meet it:

`dtypes`     the forms a dtype may take in an argument, and which one a checkpoint gets on this device.
`checks`     errors that name the file and the tensor.
`stream`     tensors stay in their files until they are wanted, and are converted one by one.
`fuse`       parts of a fused weight (the experts of a layer, say) are read straight into their slots.
`mindspore`  `model.ckpt`, MindSpore's own checkpoint format; `ckpt` finds the tensors in it.
`staging`    a save is written aside and put in place only when it is complete.

The seams are in shims/transformers/modeling_utils.py, core_model_loading.py and modeling_gguf_pytorch_utils.py,
shims/safetensors/ and shims/gguf/.
Importing this package imports neither torch nor mindspore.
"""

from typing import Any

__all__ = ["load_mindspore_checkpoint", "save_mindspore_checkpoint", "staged"]


def __getattr__(name: str) -> Any:
    if name in ("load_mindspore_checkpoint", "save_mindspore_checkpoint"):
        from hf_ascend.loading import mindspore

        return getattr(mindspore, name)
    if name == "staged":
        from hf_ascend.loading.staging import staged

        return staged
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
