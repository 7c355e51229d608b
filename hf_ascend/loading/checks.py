"""Errors of a load that name the file and the tensor."""

import json
import os
import pickle
import re
from collections.abc import Iterable
from typing import Any


def shards(files: list[str] | None, metadata: dict[str, Any] | None) -> None:
    """Raise OSError for shards that an index names and that are not there. `files` are the resolved paths."""
    missing = [f for f in files or () if f is not None and not os.path.isfile(f)]
    if not missing:
        return
    by_file: dict[str, list[str]] = {}
    for tensor, name in ((metadata or {}).get("weight_map") or {}).items():
        by_file.setdefault(name, []).append(tensor)
    lines = []
    for file in missing:
        held = sorted(by_file.get(os.path.basename(file), []))
        what = f", which holds {len(held)} tensors, the first {held[0]!r}" if held else ""
        lines.append(f"{file}{what}")
    raise OSError(
        "The checkpoint's index names files that are not there: " + "; ".join(lines) + ". Copy or download them again."
    )


def index_file(error: json.JSONDecodeError, folder: Any) -> OSError:
    """The error for an index that is not JSON."""
    names = [n for n in (os.listdir(folder) if os.path.isdir(folder) else ()) if n.endswith(".index.json")]
    where = os.path.join(folder, names[0]) if len(names) == 1 else f"the index of {folder}"
    return OSError(f"{where} is damaged: it is not valid JSON ({error}). Copy or download it again.")


_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|(?:type|class|function) ([\w.]+)")


def refused_pickle(file: Any, error: Exception) -> pickle.UnpicklingError:
    """The error for a pickle that holds more than weights, or is damaged."""
    if isinstance(error, pickle.UnpicklingError) and str(file) in str(error):
        return error  # said already
    found = _GLOBAL.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    name = next((g for g in found.groups() if g), None) if found else None
    shown = getattr(file, "name", file) if not isinstance(file, (str, os.PathLike)) else os.fspath(file)
    if name:
        return pickle.UnpicklingError(
            f"{shown} was not loaded: it wants to run or build {name!r}, which is code and not a tensor. "
            "Loading it could do anything on this machine. Ask for the weights as safetensors; or, if you trust "
            "its author, read it with torch.load(..., weights_only=False) yourself."
        )
    return pickle.UnpicklingError(f"{shown} is damaged or not a checkpoint of torch.save: {str(error).splitlines()[0]}")


def _holder(tensor: str, files: Iterable[str]) -> str | None:
    """The file that holds a tensor of this name."""
    import safetensors

    for file in files:
        if str(file).endswith(".safetensors") and os.path.isfile(file):
            with safetensors.safe_open(file, framework="np") as opened:
                if tensor in opened.keys():  # noqa: SIM118  (not a dict)
                    return str(file)
    return None


def mismatches(info: Any, files: list[str] | None, where: Any) -> str:
    """What does not fit, tensor by tensor: shapes, and weights that could not be converted."""
    files = [f for f in files or () if f]
    only = files[0] if len(files) == 1 else None
    lines = []
    for tensor, have, want in sorted(info.mismatched_keys):
        file = only or _holder(tensor, files) or where
        lines.append(f"{file}: tensor {tensor!r} has shape {list(have)}, the model expects {list(want)}")
    for tensor, text in sorted(info.conversion_errors.items()):
        last = [line for line in str(text).strip().splitlines() if line.strip()]
        lines.append(f"{only or where}: tensor {tensor!r} could not be made from the checkpoint: {last[-2:]}")
    return "\n  ".join(lines)


def named(error: Exception, name: Any) -> Exception:
    """The error, saying which model it is about if it does not (of an unknown architecture, say)."""
    if type(error) in (ValueError, OSError) and name is not None and str(name) not in str(error):
        return type(error)(f"{name}: {error}")
    return error
