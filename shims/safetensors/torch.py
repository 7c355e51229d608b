"""safetensors.torch with MindSpore tensors. Upstream's reads storages of PyTorch tensors."""

import contextlib
import os
import re
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as real


def _to_real(tensors: dict[str, Any]) -> dict[str, Any]:
    from hf_ascend.torch import _fallback, _inplace

    out, seen = {}, {}
    for name, t in tensors.items():
        if _inplace.is_meta(t):
            raise ValueError(f"tensor {name!r} has no values (it is on the meta device) and cannot be saved")
        r = _fallback.to_real(t).contiguous()
        if r.numel() and r.data_ptr() in seen:
            r = r.clone()
        seen[r.data_ptr()] = name
        out[name] = r
    return out


def _ours(tensors: dict[str, Any]) -> dict[str, Any]:
    from hf_ascend.torch import _fallback, _registry

    return {k: _registry.wrap(_fallback.from_real(v)) for k, v in tensors.items()}


def save_file(tensors: dict[str, Any], filename: Any, metadata: dict[str, str] | None = None) -> None:
    """Write tensors; the file appears only when complete, so an earlier one survives a full disk.

    Raises OSError that names the file when it cannot be written.
    """
    target = os.fspath(filename)
    partial = f"{target}.partial"
    try:
        real.save_file(_to_real(tensors), partial, metadata=metadata)
        os.replace(partial, target)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), f"{target} could not be written: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)


def save(tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as bytes."""
    return real.save(_to_real(tensors), metadata=metadata)


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Any]:
    """All tensors of a file."""
    return _ours(real.load_file(filename, device="cpu"))


def load(data: bytes) -> dict[str, Any]:
    """All tensors in bytes."""
    return _ours(real.load(data))


def save_model(
    model: Any, filename: str, metadata: dict[str, str] | None = None, force_contiguous: bool = True
) -> None:
    """Write a module's tensors, shared ones once."""
    state, kept, seen = model.state_dict(), {}, {}
    for name, t in state.items():
        key = (t.data_ptr(), tuple(t.shape))
        if key in seen:
            metadata = {**(metadata or {}), name: seen[key]}
        else:
            seen[key] = name
            kept[name] = t
    save_file(kept, filename, metadata)


def load_model(model: Any, filename: Any, strict: bool = True, device: Any = "cpu") -> tuple[Any, Any]:
    """Read a file into a module."""
    missing, unexpected = model.load_state_dict(load_file(filename), strict=False)
    shared = {id(p) for n, p in model.state_dict(keep_vars=True).items() if n not in missing}
    missing = [n for n in missing if id(model.state_dict(keep_vars=True)[n]) not in shared]
    if strict and (missing or unexpected):
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(model).__name__}: missing {missing}, unexpected {unexpected}"
        )
    return missing, unexpected


def storage_ptr(tensor: Any) -> int:
    """Where a tensor's storage begins."""
    return tensor.untyped_storage().data_ptr()


def storage_size(tensor: Any) -> int:
    """The bytes of a tensor's storage."""
    return tensor.untyped_storage().nbytes()


_storage_ptr, _storage_size = storage_ptr, storage_size
