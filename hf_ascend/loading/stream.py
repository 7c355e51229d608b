"""Tensors that stay in their files until they are wanted.

A checkpoint file is mapped. A tensor in the file's own dtype is used where it lies (the mapping is private:
writing to the tensor does not write to the file). Every other one is read into the memory it will stay in,
converted on the way: by `pread`, which maps no pages, where its place in the file is known and one call will do; else
from the mapping, whose pages are then given back. So memory holds the weights and little else.
Everything here works on PyTorch tensors, so that threads may run it: MindSpore's recording of operators
is not thread-safe.
"""

import contextlib
import ctypes
import math
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import torch as real

from hf_ascend.torch import _dtypes, _fallback, _registry

_DONTNEED = getattr(mmap, "MADV_DONTNEED", None)
_AHEAD = 16 << 20
"""Bytes that may be read ahead of the tensor that is wanted next."""
_BUFFER = 1 << 18
"""Bytes that are read to be converted at a time."""
_buffers = threading.local()


def give_back(address: int, nbytes: int, shared: bool = False) -> None:
    """Drop the pages of mapped memory; reading it again reads the file again.

    Pages at the ends that hold other bytes too are dropped only if `shared` says that nothing can have written to
    them.
    """
    size = mmap.PAGESIZE
    end = address + nbytes
    start, end = (address // size, -(-end // size)) if shared else (-(-address // size), end // size)
    if _DONTNEED is not None and end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start * size), ctypes.c_size_t((end - start) * size), _DONTNEED)


def give_back_file(a: np.ndarray) -> None:
    """Drop all pages of the file that an array of numpy's memmap lies in, unless the mapping is a private copy.

    Reading a part of a mapped file brings in pages around it; so it does not do to drop those of the part.
    """
    mapped = getattr(a, "_mmap", None)
    if mapped is not None and getattr(a, "mode", "c") != "c":
        whole = np.frombuffer(mapped, np.uint8)
        give_back(whole.ctypes.data, whole.nbytes, shared=True)


class OpenFile:
    """A file open for reading, closed when nothing refers to it any more."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self.fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.fd)

    def read_into(self, buffer: Any, offset: int, what: str) -> None:
        """Fill `buffer` (bytes, writable) from `offset` on. Raises OSError, naming `what`, at the end of the file."""
        view = memoryview(buffer)
        while view:
            n = os.preadv(self.fd, [view], offset)
            if n == 0:
                raise OSError(f"{self.path} ends inside tensor {what!r}. Copy or download it again.")
            view, offset = view[n:], offset + n


class Region:
    """Where the values of a tensor lie in a file: `pieces` are (offset, bytes), one after the other."""

    def __init__(self, file: OpenFile, pieces: list[tuple[int, int]], dtype: real.dtype, shape: Sequence[int]):
        self.file, self.pieces, self.dtype, self.shape = file, pieces, dtype, tuple(shape)
        if math.prod(self.shape) * dtype.itemsize != sum(n for _, n in pieces):
            raise ValueError(f"{file.path}: {pieces} do not hold {self.shape} values of {dtype}")

    def read_into(self, out: real.Tensor, name: str) -> None:
        """Read the values into `out`, a contiguous tensor of the same shape and any dtype."""
        flat = out.view(-1)
        if out.dtype == self.dtype:
            done, raw = 0, flat.view(real.uint8).numpy()
            for offset, nbytes in self.pieces:
                self.file.read_into(raw[done : done + nbytes], offset, name)
                done += nbytes
            return
        buffer = _buffers.__dict__.get("bytes")
        if buffer is None:
            buffer = _buffers.bytes = real.empty(_BUFFER, dtype=real.uint8)
        raw, size, done = buffer.numpy(), self.dtype.itemsize, 0
        for offset, nbytes in self.pieces:
            for start in range(0, nbytes, _BUFFER):
                n = min(_BUFFER, nbytes - start)
                self.file.read_into(raw[:n], offset + start, name)
                flat[done : done + n // size].copy_(buffer[:n].view(self.dtype))
                done += n // size


class FileTensor:
    """One tensor of a checkpoint file. `source()` gives it as a PyTorch tensor.

    `mapped` says that it then lies in a private mapping of the file, so that its pages may be given back. `region`
    is where its values lie in the file, if that is known.
    """

    def __init__(
        self, source: Callable[[], real.Tensor], file: str, name: str, nbytes: int, mapped: bool,
        region: Region | None = None,
    ):  # fmt: skip
        self.source, self.file, self.name, self.nbytes, self.mapped = source, file, name, nbytes, mapped
        self.region = region

    @property
    def stored(self) -> tuple[real.dtype, tuple[int, ...]]:
        """The dtype and the shape in the file."""
        known = self.region or self.source()
        return known.dtype, tuple(known.shape)

    def read(self, dtype: Any = None, own: bool = False) -> real.Tensor:
        """The tensor as `dtype` (None: as stored), in memory of its own if it is converted or `own` asks for it."""
        stored, shape = self.stored
        wanted = stored if dtype is None else dtype
        if wanted == stored and not (own and self.mapped):
            return self.source().contiguous()
        out = real.empty(shape, dtype=wanted)
        self.read_into(out)
        return out

    def read_into(self, out: real.Tensor) -> None:
        """Read the values into `out`, a tensor of the same shape and any dtype and strides."""
        # many small conversions would pass Python's lock to and fro; one of a mapped tensor takes it once
        once = self.region is not None and (out.dtype == self.region.dtype or self.nbytes <= _BUFFER)
        if self.region is not None and (once or not self.mapped) and out.is_contiguous() and out.numel():
            self.region.read_into(out, self.name)
            return
        stored = self.source()
        out.copy_(stored)
        if self.mapped and stored.is_contiguous():
            give_back(stored.data_ptr(), stored.nbytes)


def real_dtype(dtype: Any) -> real.dtype | None:
    """PyTorch's own for a dtype of any kind, or None."""
    return None if dtype is None else _fallback._TO_REAL[_dtypes.as_dtype(dtype).name]


def materialize(tensor: Any, dtype: Any, own: bool) -> Any:
    """A MindSpore tensor (not yet of the stand-in's class) of a FileTensor, or of an ordinary one of the stand-in's."""
    if isinstance(tensor, FileTensor):
        return _fallback.from_real(tensor.read(real_dtype(dtype), own))
    if dtype is None or tensor.dtype.name == _dtypes.as_dtype(dtype).name:
        return tensor
    return _fallback.from_real(_fallback.to_real(tensor).to(real_dtype(dtype)))


class Window:
    """Runs jobs in order on a thread pool, a bounded number of bytes ahead of their use."""

    def __init__(self, pool: Executor):
        self.pool, self.lock = pool, threading.Lock()
        self.waiting: deque[Job] = deque()
        self.ahead = 0

    def add(self, job: "Job") -> None:
        """Queue a job."""
        with self.lock:
            self.waiting.append(job)
        self.advance()

    def advance(self) -> None:
        """Start as many jobs as fit."""
        with self.lock:
            while self.waiting and self.ahead <= _AHEAD:
                job = self.waiting.popleft()
                if not job.taken:
                    job.taken = True
                    self.ahead += job.size
                    job.future = self.pool.submit(job.run)

    def done(self, job: "Job") -> None:
        """A started job's result was used."""
        with self.lock:
            self.ahead -= job.size
        with contextlib.suppress(RuntimeError):  # the pool is closed: what is left is read on the spot
            self.advance()


class Job:
    """One tensor to be read as `dtype`; calling it gives the tensor, which is read on the spot if no thread has begun.

    `own` as for `FileTensor.read`. `window` is None where nothing is read ahead.
    """

    __slots__ = ("dtype", "future", "own", "size", "taken", "tensor", "window")

    def __init__(self, tensor: Any, dtype: Any, own: bool, window: Window | None):
        self.tensor, self.dtype, self.own, self.window = tensor, dtype, own, window
        self.size = tensor.nbytes
        self.taken = False
        self.future: Future | None = None

    def start(self) -> None:
        """Let it be read ahead."""
        if self.window is not None:
            self.window.add(self)

    def run(self) -> Any:
        """Read it."""
        return materialize(self.tensor, self.dtype, self.own)

    def __call__(self) -> Any:
        """The tensor; only once."""
        if self.window is None:
            return _registry.wrap(self.run())
        with self.window.lock:
            here, self.taken = not self.taken, True
        if here:
            return _registry.wrap(self.run())
        assert self.future is not None
        value = self.future.result()
        self.future = None
        self.window.done(self)
        return _registry.wrap(value)
