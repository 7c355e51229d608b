"""Where the tensors of a MindSpore checkpoint file lie, found without reading them.

The file is a protobuf message (mindspore/train/checkpoint.proto), which `mindspore.load_checkpoint` reads whole,
then parses into a copy, then copies into tensors: three times the weights in memory. The message is walked here
instead, seeking over the values:

    Checkpoint {repeated Value value = 1}      Value {string tag = 1; TensorProto tensor = 2}
    TensorProto {repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3}

A tensor of more than 512 MB is several Values of one tag. "crc_num" and the CRC-32 of all before it, in 10 bytes,
may follow the message.
"""

import io
import os
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

_MARK = b"crc_num"
_TRAILER = len(_MARK) + 10
_VARINT, _BYTES = 0, 2  # wire types; the format uses no others
_CHUNK = 1 << 20


class FormatError(ValueError):
    """The file is not what the format says."""


@dataclass
class Entry:
    """A tensor: its type in MindSpore's words ("Float32"), and (offset, bytes) of each piece of its values."""

    kind: str
    dims: tuple[int, ...]
    pieces: list[tuple[int, int]] = field(default_factory=list)


def index(path: str | os.PathLike) -> dict[str, Entry]:
    """Name -> entry, in the file's order. Raises FormatError when the file is damaged, OSError when it is not there."""
    found: dict[str, Entry] = {}
    with open(path, "rb") as f:
        end = _checked(f)
        f.seek(0)
        while f.tell() < end:
            number, size = _field(f, end)
            if number != 1:
                raise FormatError(f"field {number} of the checkpoint is not known")
            name, entry = _value(f, f.tell() + size)
            known = found.setdefault(name, entry)
            if known is not entry:
                if (known.kind, known.dims) != (entry.kind, entry.dims):
                    raise FormatError(f"the pieces of {name!r} differ in type or shape")
                known.pieces += entry.pieces
    return found


def _checked(f: BinaryIO) -> int:
    """Where the message ends, after comparing its checksum if the file has one."""
    size = f.seek(0, io.SEEK_END)
    f.seek(max(size - _TRAILER, 0))
    tail = f.read()
    if not tail.startswith(_MARK) or len(tail) != _TRAILER:
        return size
    end, crc = size - _TRAILER, 0
    f.seek(0)
    for start in range(0, end, _CHUNK):
        crc = zlib.crc32(f.read(min(_CHUNK, end - start)), crc)
    if crc != int.from_bytes(tail[len(_MARK) :], "big"):
        raise FormatError("its checksum does not fit its content")
    return end


def _number(f: BinaryIO) -> int:
    value = shift = 0
    while byte := f.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
        if shift > 63:
            raise FormatError("a number has too many bytes")
    raise FormatError("it ends too early")


def _field(f: BinaryIO, end: int) -> tuple[int, int]:
    """The next field's number, and its value (a number) or how many bytes follow; they lie before `end`."""
    key = _number(f)
    if key & 7 not in (_VARINT, _BYTES):
        raise FormatError(f"wire type {key & 7} does not occur in checkpoints")
    value = _number(f)
    if f.tell() + (value if key & 7 == _BYTES else 0) > end:
        raise FormatError("it ends too early")
    return key >> 3, value


def _value(f: BinaryIO, end: int) -> tuple[str, Entry]:
    name, entry = "", None
    while f.tell() < end:
        number, size = _field(f, end)
        if number == 1:
            name = f.read(size).decode()
        elif number == 2:
            entry = _tensor(f, f.tell() + size)
        else:
            raise FormatError(f"{name!r} is not a tensor")
    if entry is None:
        raise FormatError(f"{name!r} has no value")
    return name, entry


def _tensor(f: BinaryIO, end: int) -> Entry:
    kind, dims, pieces = "", [], []
    while f.tell() < end:
        number, size = _field(f, end)
        if number == 1:
            dims.append(size)
        elif number == 2:
            kind = f.read(size).decode()
        elif number == 3:
            pieces.append((f.tell(), size))
            f.seek(size, io.SEEK_CUR)
        else:
            raise FormatError(f"field {number} of a tensor is not known")
    return Entry(kind, tuple(dims), pieces)
