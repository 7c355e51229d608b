"""safetensors with MindSpore tensors. Upstream's core is Rust and makes PyTorch's; ours share their memory."""

import json
import os
from typing import Any

import safetensors as real
import torch as pytorch
from safetensors import *  # noqa: F403
from safetensors import SafetensorError, TensorSpec, __version__, deserialize, serialize, serialize_file  # noqa: F401

from hf_ascend.loading.stream import FileTensor, OpenFile, Region

_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "U16": "uint16",
    "I16": "int16", "F16": "float16", "BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32",
    "U64": "uint64", "I64": "int64", "F64": "float64",
}  # fmt: skip
_DTYPES = {key: getattr(pytorch, name) for key, name in _NAMES.items()}
"""Those whose values have whole bytes each; tensors of others are read as safetensors reads them."""


def _ours(x: Any) -> Any:
    from hf_ascend.torch import _fallback, _registry

    return _registry.wrap(_fallback.from_real(x))


def _places(path: str) -> dict[str, tuple[OpenFile, int, int]]:
    """Where each tensor of a file that safetensors has checked begins and ends."""
    opened = OpenFile(path)
    head = bytearray(8)
    opened.read_into(head, 0, "the header")
    text = bytearray(int.from_bytes(head, "little"))
    opened.read_into(text, 8, "the header")
    base = 8 + len(text)
    spans = {k: v["data_offsets"] for k, v in json.loads(text).items() if k != "__metadata__"}
    return {name: (opened, base + start, base + end) for name, (start, end) in spans.items()}


class _Slice(FileTensor):
    """A tensor in a file, read when indexed."""

    def __init__(self, inner: Any, name: str, file: str, mapped: bool, place: tuple[OpenFile, int, int]):
        opened, start, end = place
        dtype = _DTYPES.get(inner.get_dtype())
        region = Region(opened, [(start, end - start)], dtype, inner.get_shape()) if dtype else None
        super().__init__(lambda: self._part(...), file, name, end - start, mapped, region)
        self._inner = inner

    def _part(self, key: Any) -> Any:
        try:
            return self._inner[key]
        except (OSError, SafetensorError, RuntimeError) as error:
            raise SafetensorError(f"{self.file}: tensor {self.name!r}: {error}") from error

    def __getitem__(self, key: Any) -> Any:
        return _ours(self._part(key))

    def get_shape(self) -> list[int]:
        """Its shape."""
        return self._inner.get_shape()

    def get_dtype(self) -> str:
        """Its dtype in the file's words, such as "BF16"."""
        return self._inner.get_dtype()


class safe_open:  # noqa: N801
    """Opens a file; tensors come out as MindSpore tensors (framework "pt") or arrays (others).

    Raises FileNotFoundError for a file that is not there, and SafetensorError that names the file when it is
    damaged.
    """

    def __init__(self, filename: Any, framework: str = "pt", device: Any = "cpu", **kwargs: Any):
        self._file, self._torch = os.fspath(filename), framework in ("pt", "torch", "pytorch")
        self._mapped = kwargs.get("backend", "mmap") == "mmap"
        self._places: dict[str, tuple[OpenFile, int, int]] = {}
        try:
            self._inner = real.safe_open(filename, framework=framework, device="cpu", **kwargs)
        except SafetensorError as error:
            raise SafetensorError(
                f"{filename} is damaged or not a safetensors file ({os.path.getsize(filename)} bytes: {error}). "
                "Copy or download it again."
            ) from error

    def __enter__(self) -> "safe_open":
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.__exit__(*(exc or (None, None, None)))

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._inner.keys())

    def offset_keys(self) -> list[str]:
        """The names in the order of the file."""
        return list(self._inner.offset_keys())

    def metadata(self) -> Any:
        """The file's own strings."""
        return self._inner.metadata()

    def get_tensor(self, name: str) -> Any:
        """A tensor. Raises SafetensorError for a name that is not in the file."""
        found = self._inner.get_tensor(name)
        return _ours(found) if self._torch else found

    def get_tensors(self) -> dict[str, Any]:
        """All tensors."""
        return {name: self.get_tensor(name) for name in self.keys()}

    def get_slice(self, name: str) -> Any:
        """A tensor to be read in part, or later."""
        found = self._inner.get_slice(name)
        if not self._torch:
            return found
        self._places = self._places or _places(self._file)
        return _Slice(found, name, self._file, self._mapped, self._places[name])
