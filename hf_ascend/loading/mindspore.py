"""model.ckpt: a model in MindSpore's own checkpoint format.

The names are the model's parameter names, so `mindspore.load_checkpoint` and `load_param_into_net` work on
it; `from_pretrained` finds it in a folder that holds no other weights.
"""

import functools
import os
from pathlib import Path
from typing import Any

CKPT_NAME = "model.ckpt"
_OTHERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def save_mindspore_checkpoint(model: Any, folder: str | os.PathLike) -> Path:
    """Write `model` (a PreTrainedModel of hf_ascend) as model.ckpt with config.json, and return the file's path.

    Shapes and dtypes are the model's, tied weights are written once. `from_pretrained(folder)` reads it back,
    bit for bit. An earlier checkpoint in the folder stays until the new one is complete; weights in other
    formats are removed then, because they would be found first. Raises OSError when it cannot be written,
    ValueError for a model with tensors that have no values.
    """
    from hf_ascend.loading.staging import staged
    from hf_ascend.torch import _inplace
    from hf_ascend.torch._ms import ms
    from hf_ascend.transformers.modeling_utils import remove_tied_weights_from_state_dict, unwrap_model

    model = unwrap_model(model)
    state = remove_tied_weights_from_state_dict(model.state_dict(), model)
    empty = [name for name, t in state.items() if _inplace.is_meta(t)]
    if empty:
        raise ValueError(f"tensor {empty[0]!r} has no values (it is on the meta device) and cannot be saved")
    folder = Path(folder)
    with staged(folder) as aside:
        config = model.config
        config.dtype, config.architectures = str(model.dtype).split(".")[1], [type(model).__name__]
        config.save_pretrained(aside)
        if model.can_generate():
            model.generation_config.save_pretrained(aside)
        data = [{"name": name, "data": _plain(t)} for name, t in state.items()]
        try:
            ms.save_checkpoint(data, str(aside / CKPT_NAME), append_dict={"tensors": len(data)}, crc_check=True)
        except Exception as error:
            raise OSError(f"{folder / CKPT_NAME} could not be written: {error}") from error
    for name in _OTHERS:
        (folder / name).unlink(missing_ok=True)
    return folder / CKPT_NAME


def _plain(t: Any) -> Any:
    """The tensor under MindSpore's own class, which its serialization tests for."""
    from hf_ascend.torch._ms import MsTensor

    out = MsTensor.data.__get__(t).contiguous()
    out.__class__ = MsTensor
    return out


def load_mindspore_checkpoint(file: str | os.PathLike) -> dict[str, Any]:
    """Name -> tensor of a MindSpore checkpoint file. Raises OSError that names the file when it is damaged."""
    from hf_ascend.torch import _fallback, _registry

    return {name: _registry.wrap(_fallback.from_real(t.read())) for name, t in file_tensors(file).items()}


def file_tensors(file: str | os.PathLike) -> dict[str, Any]:
    """Name -> FileTensor of a MindSpore checkpoint file, whose values are checked (if it has a checksum) but not kept.

    Strings beside the tensors are left out. Raises OSError that names the file when it is damaged.
    """
    import torch as real

    from hf_ascend.loading import ckpt
    from hf_ascend.loading.stream import FileTensor, OpenFile, Region

    path = os.fspath(file)
    try:
        found = ckpt.index(path)
        opened = OpenFile(path)
        regions = {}
        for name, entry in found.items():
            if entry.kind == "str":
                continue
            dtype = getattr(real, entry.kind.lower(), None)
            if not isinstance(dtype, real.dtype):
                raise ValueError(f"tensor {name!r} has the unknown type {entry.kind!r}")
            scalar = entry.dims == (0,) and entry.pieces and entry.pieces[0][1]  # MindSpore writes () as (0,)
            regions[name] = Region(opened, entry.pieces, dtype, () if scalar else entry.dims)
        count = regions.pop("tensors", None)
        if count is not None and (held := int(_read(count, "tensors"))) != len(regions):
            raise ValueError(f"it should hold {held} tensors and holds {len(regions)}")
        if not regions:
            raise ValueError("it holds no tensors")
    except (ValueError, OSError) as error:
        raise OSError(f"{path} is damaged or not a MindSpore checkpoint: {error}") from error
    return {
        name: FileTensor(functools.partial(_read, r, name), path, name, sum(n for _, n in r.pieces), False, r)
        for name, r in regions.items()
    }


def _read(region: Any, name: str) -> Any:
    """A region's values as a PyTorch tensor in memory of its own."""
    import torch as real

    out = real.empty(region.shape, dtype=region.dtype)
    if out.numel():
        region.read_into(out, name)
    return out


def find(folder: Any, subfolder: str, variant: str | None) -> str | None:
    """The path of a MindSpore checkpoint in a local folder that holds no weights upstream would load."""
    base = os.path.join(str(folder), subfolder or "")
    if not os.path.isdir(base):
        return None
    stem = f"model.{variant}" if variant else "model"
    torch_stem = f"pytorch_model.{variant}" if variant else "pytorch_model"
    for other in (f"{stem}.safetensors", f"{torch_stem}.bin"):
        path = os.path.join(base, other)
        index = path.replace(f".{variant}.", ".", 1) + ".index.json" if variant else path + ".index.json"
        if os.path.isfile(path) or os.path.isfile(index):
            return None
    ckpt = os.path.join(base, f"{stem}.ckpt")
    return ckpt if os.path.isfile(ckpt) else None
