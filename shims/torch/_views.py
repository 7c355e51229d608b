"""Who shares memory with whom, and what a recorded in-place write means to them.

An in-place write that nothing records overwrites memory, and everyone who shares it sees that. A recorded one makes
a new tensor, because the graph may have kept the old one; everyone who shared the old tensor's memory is moved:

* A *view* knows its root (`_base`, as in torch). It becomes the same part of the root's new tensor, so that its
  gradient flows through the write.
* A *twin* (`detach()`, `.data`) shares memory but no graph. It gets the new memory and keeps what graph it has.

All who share a memory are in one list of weak references (`_kin`), made when the first view or twin is taken. A
tensor without views or twins pays nothing for all this.

What does not require a gradient yet has nothing that a graph could have kept as a result, so the first recorded
write overwrites its memory as torch does: arrays and parameters that share it see the values.

The parts of a memory are described by their place in it (`Part`), whatever operators led there, as in
torch's own `as_strided` replay.
"""

import math
import weakref
from typing import Any

import numpy as np

from . import _dtypes, _registry
from ._ms import (
    ON_CPU,
    MsFunction,
    MsTensor,
    TensorPy,
    executor,
    gen,
    grad_enabled,
    raw_address,
    raw_dtype,
    raw_requires_grad,
    raw_shape,
    refuse_capture,
    replace_impl,
)

_memory: Any = None  # bound by _inplace, which needs this module
_from_numpy: Any = None


class Kin(list):
    """Weak references to the tensors that share a memory; the dead are swept out whenever the list has doubled."""

    __slots__ = ("limit",)

    def __init__(self, first: Any):
        super().__init__((weakref.ref(first),))
        self.limit = 16

    def add(self, x: Any) -> None:
        """Let `x` be one of them."""
        if len(self) >= self.limit:
            self[:] = [r for r in self if r() is not None]
            self.limit = max(16, 2 * len(self))
        self.append(weakref.ref(x))
        x.__dict__["_kin"] = self

    def alive(self) -> list[Any]:
        """The tensors that still are and still share this memory."""
        found = {id(w): w for r in self if (w := r()) is not None and w.__dict__.get("_kin") is self}
        return list(found.values())


def _kin(x: Any) -> Kin:
    kin = x.__dict__.get("_kin")
    if kin is None:
        kin = x.__dict__["_kin"] = Kin(x)
    return kin


def _tracked(x: Any) -> bool:
    # Without recording, plain tensors need not be known: the first recorded write overwrites their memory. Inference
    # has hardly any others, and so pays for asking alone.
    known = x.__dict__
    return ("_kin" in known or grad_enabled() or raw_requires_grad(x)) and "_meta" not in known


def mark(result: Any, name: str, args: Any, kwargs: Any) -> None:
    """Remember whose view `result`, or each tensor in it, is: the registry's hook after an operator with `view=True`."""  # noqa: E501
    base = args[0] if args else next(iter(kwargs.values()))
    if not isinstance(base, TensorPy) or not _tracked(base):
        return
    for part in result if isinstance(result, (tuple, list)) else (result,):
        if part is not base and "_kin" not in part.__dict__ and _shares(part, base):
            share(part, base)


def share(x: Any, base: Any) -> Any:
    """Remember that `x`, which is new, is a view of `base`; returns `x`. For operators that know without asking."""
    if _tracked(base):
        x.__dict__["_base"] = base.__dict__.get("_base", base)
        _kin(base).add(x)
    return x


def _shares(x: Any, y: Any) -> bool:
    return raw_address(x) == raw_address(y) or _same_storage(x, y)  # most views begin where their base does


def _same_storage(x: Any, y: Any) -> bool:
    return TensorPy.untyped_storage(x).data_ptr() == TensorPy.untyped_storage(y).data_ptr()


def twin(x: Any, of: Any) -> None:
    """Remember that `x` shares the memory, though not the graph, of `of`."""
    if _tracked(of):
        _kin(of).add(x)


def unlink(x: Any) -> None:
    """`x` has other memory now: it is nobody's view or twin any more."""
    for key in ("_kin", "_base", "_np"):
        x.__dict__.pop(key, None)


# ---- places in a memory
class Part:
    """A part of a memory: numpy dtype, shape, strides and offset in elements, and the whole memory's bytes."""

    __slots__ = ("dtype", "injective", "nbytes", "offset", "shape", "strides", "whole")

    def __init__(self, ms_dtype: Any, shape: tuple, strides: tuple, offset: int, nbytes: int):
        self.dtype = _dtypes.BY_MS[ms_dtype]
        self.shape, self.strides, self.offset, self.nbytes = tuple(shape), tuple(strides), offset, nbytes
        self.injective = injective(self.shape, self.strides)
        n, expected = self.dtype.itemsize, 1
        contiguous = True
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            contiguous = contiguous and (size == 1 or stride == expected)
            expected *= size
        self.whole = contiguous and offset == 0 and expected * n == nbytes

    def of(self, flat: np.ndarray) -> np.ndarray:
        """The part of a memory given as a vector: an array on the same memory."""
        n = self.dtype.itemsize
        return np.ndarray(self.shape, self.dtype.np, flat.data, self.offset * n, tuple(s * n for s in self.strides))

    def zeros(self) -> np.ndarray:
        """A memory of zeros, as a vector of the part's type."""
        return np.zeros(self.nbytes // self.dtype.itemsize, self.dtype.np)

    def first(self, a: np.ndarray) -> np.ndarray:
        """A copy of `a` with zeros where the part names an element again."""
        a = np.array(a, order="C")
        if not self.injective:
            ids = self.named().reshape(-1)
            again = np.ones(ids.size, bool)
            again[np.unique(ids, return_index=True)[1]] = False
            a.reshape(-1)[again] = 0
        return a

    def named(self) -> np.ndarray:
        """The numbers of the elements."""
        grid = np.arange(self.nbytes // self.dtype.itemsize)
        return np.array(
            np.ndarray(self.shape, np.int64, grid.data, self.offset * 8, tuple(s * 8 for s in self.strides)), order="C"
        )

    def spread(self, a: np.ndarray) -> np.ndarray:
        """A memory of zeros but for `a` in this part; where the part names an element repeatedly, the sum."""
        if self.whole:
            return np.array(a, self.dtype.np, order="C").reshape(-1)
        flat = self.zeros()
        if self.injective:
            self.of(flat)[...] = a
        else:
            _add(flat, self, a)
        return flat


def injective(shape: tuple, strides: tuple) -> bool:
    """Whether no element of the memory is named twice (as `expand` and overlapping windows do)."""
    reach = 0
    for stride, size in sorted((st, sz) for st, sz in zip(strides, shape, strict=True) if sz > 1):
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _add(flat: np.ndarray, part: Part, a: np.ndarray) -> None:
    at = part.named().reshape(-1)
    if part.dtype is not _dtypes.bfloat16:
        np.add.at(flat, at, a.reshape(-1))
        return
    wide = np.zeros(flat.size, np.float32)
    np.add.at(wide, at, (a.reshape(-1).astype(np.uint32) << 16).view(np.float32))
    bits = wide.view(np.uint32)
    flat[...] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def part(x: Any) -> Part:
    """The place of a tensor in its memory."""
    storage = MsTensor.untyped_storage(x)
    return Part(raw_dtype(x), tuple(raw_shape(x)), tuple(MsTensor.stride(x)), x.storage_offset(), storage.nbytes())


def _whole_memory(x: Any, dtype: Any) -> np.ndarray:
    """The memory behind a tensor, as a vector."""
    storage = MsTensor.untyped_storage(x)
    size = storage.nbytes() // dtype.itemsize
    return np.asarray(_Raw(storage, storage.data_ptr(), (size,), dtype.np))


class _Raw:
    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: Any, pointer: int, shape: tuple, dtype: np.dtype, strides: Any = None):
        self.owner = owner
        self.__array_interface__ = {
            "data": (pointer, False), "shape": shape, "strides": strides, "typestr": dtype.str, "version": 3,
        }  # fmt: skip


def _at(x: Any, place: Part) -> Any:
    """The tensor at that place of the memory of `x`, without a graph."""
    x = MsTensor.data.__get__(x)
    if place.dtype.ms is not raw_dtype(x):
        if raw_shape(x):
            size = place.nbytes // x.itemsize
            x = gen.view_dtype_op(gen.as_strided_op(x, (size,), (1,), 0), place.dtype.ms)
        else:  # MindSpore's kernel dies of a tensor without dimensions
            x = MsTensor.from_numpy(_memory(x).reshape(1).view(place.dtype.np))
    return gen.as_strided_op(x, place.shape, place.strides, place.offset)


def _own(x: Any) -> Any:
    """A tensor in the same place that MindSpore does not know to be a view: it would rebuild its place in the graph."""
    if not injective(tuple(raw_shape(x)), tuple(MsTensor.stride(x))):
        return x  # which MindSpore cannot set; nobody writes to it
    dtype = _dtypes.BY_MS[raw_dtype(x)]
    out = MsTensor.from_numpy(np.empty(1, dtype.np))
    if dtype is _dtypes.bfloat16:
        out = gen.view_dtype_op(out, dtype.ms)
    TensorPy.set_(out, x)
    return out


def _make(a: np.ndarray, dtype: Any) -> Any:
    """A tensor of `dtype` on the memory of an array."""
    if dtype is not _dtypes.bfloat16:
        return _from_numpy(np.asarray(a, order="C"))
    return gen.view_dtype_op(_from_numpy(np.asarray(a, order="C").view(np.int16)), dtype.ms)


class _Zeros(MsFunction):
    """Zeros, as the result of an operator without elements: its arguments' gradients are zeros too."""

    @staticmethod
    def forward(ctx: Any, shape: tuple, dtype: Any, *sources: Any) -> Any:
        ctx.sources = [(tuple(raw_shape(x)), x.dtype) for x in sources]
        return zeros(shape, dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return (None, None, *(zeros(shape, dtype) for shape, dtype in ctx.sources))


def zeros(shape: tuple, dtype: Any, *sources: Any) -> Any:
    """Zeros of a shape, which may have no elements, recorded as a result of `sources` if one of them is.

    MindSpore records no operator whose argument or result has no elements.
    """
    if (dtype.is_floating_point or dtype.is_complex) and executor.enable_grad():
        recorded = [x for x in sources if x._requires_grad]
        if recorded:
            return _Zeros.apply(tuple(shape), dtype, *recorded)
    if dtype is _dtypes.bfloat16:
        return gen.cast_op(_from_numpy(np.zeros(tuple(shape), np.float32)), dtype.ms)
    return _from_numpy(np.zeros(tuple(shape), dtype.np))


# ---- nodes of the graph. A root is a tensor with a known place in its memory; gradients have the root's shape.
class _Strided(MsFunction):
    """The part `place` of the memory of `root`: a view."""

    @staticmethod
    def forward(ctx: Any, root: Any, of: Part, place: Part) -> Any:
        ctx.places = of, place
        return _own(_at(root, place))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _Embed.apply(_registry.wrap(grad), *ctx.places), None, None


class _Embed(MsFunction):
    """The gradient of _Strided: zeros in the shape of the root, but for `grad` at `place`, summed."""

    @staticmethod
    def forward(ctx: Any, grad: Any, of: Part, place: Part) -> Any:
        ctx.places = of, place
        return _make(of.first(of.of(place.spread(_memory(grad)))), of.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _Extract.apply(_registry.wrap(grad), *ctx.places), None, None


class _Extract(MsFunction):
    """_Strided of a tensor that has the root's shape but not its memory: a copy."""

    @staticmethod
    def forward(ctx: Any, x: Any, of: Part, place: Part) -> Any:
        ctx.places = of, place
        return _make(np.array(place.of(of.spread(of.first(_memory(x)))), order="C"), place.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _Embed.apply(_registry.wrap(grad), *ctx.places), None, None


class _Store(MsFunction):
    """The root with `value` at `place`, there at `key` if one is given: in the root's memory or in a copy of it."""

    @staticmethod
    def forward(ctx: Any, root: Any, value: Any, of: Part, place: Part, key: Any, here: bool) -> Any:
        ctx.places = of, place, key
        flat = _whole_memory(root, of.dtype)
        flat = flat if here else np.array(flat)
        place.of(flat)[... if key is None else key] = _memory(value)
        if here:
            return _own(_at(root, of))
        flat = _make(flat.reshape(of.shape) if of.whole else flat, of.dtype)
        return flat if of.whole else _own(_at(flat, of))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return (*_Divide.apply(_registry.wrap(grad), *ctx.places), None, None, None, None)


class _Divide(MsFunction):
    """The gradients of _Store: what concerns the rest of the root, and what concerns the value."""

    @staticmethod
    def forward(ctx: Any, grad: Any, of: Part, place: Part, key: Any) -> Any:
        ctx.places = of, place, key
        flat = of.spread(_memory(grad))
        target, key = place.of(flat), ... if key is None else key
        taken = np.array(target[key], order="C")
        target[key] = 0
        return _make(of.first(of.of(flat)), of.dtype), _make(taken, place.dtype)

    @staticmethod
    def backward(ctx: Any, rest: Any, value: Any) -> Any:
        of, place, key = ctx.places
        rest, value = _registry.wrap(rest), _registry.wrap(value)
        packed = Part(of.dtype.ms, of.shape, _row_major(of.shape), 0, math.prod(of.shape) * of.dtype.itemsize)
        if of.whole:
            return _Store.apply(rest, value, packed, place, key, False), None, None, None
        raise NotImplementedError("second derivatives of a write into a tensor whose memory is not in order")


class _Follow(MsFunction):
    """The same tensor in the memory that a write elsewhere has made."""

    @staticmethod
    def forward(ctx: Any, x: Any, root: Any, place: Part) -> Any:
        return _own(_at(root, place))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad, None, None


def _row_major(shape: tuple) -> tuple:
    strides, n = [], 1
    for size in reversed(shape):
        strides.append(n)
        n *= size
    return tuple(reversed(strides))


def strided(x: Any, shape: tuple, strides: tuple, offset: int, dtype: Any = None) -> Any:
    """A view of the memory of `x`, with a gradient if one is recorded. Strides and offset are in elements of `dtype`.

    The offset counts from the memory's begin. Raises RuntimeError when the view would reach out of it.
    """
    refuse_capture(x)
    dtype = dtype or x.dtype
    here = part(x)
    place = Part(dtype.ms, shape, strides, offset, here.nbytes)
    if 0 in place.shape:
        return zeros(place.shape, dtype, x)
    last = offset + sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True))
    if offset < 0 or min(place.strides, default=0) < 0 or (last + 1) * dtype.itemsize > here.nbytes:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize "
            f"{dtype.itemsize} requiring a storage size of {(last + 1) * dtype.itemsize} are out of bounds for "
            f"storage of size {here.nbytes}"
        )
    if x._requires_grad and executor.enable_grad() and (dtype.is_floating_point or dtype.is_complex):
        return _Strided.apply(x, here, place)
    return _at(x, place)


# ---- recorded writes
def check_recorded(x: Any) -> None:
    """Raise RuntimeError as torch for a leaf that requires a gradient, or a view of one."""
    root = x.__dict__.get("_base")
    for y, what in ((x, "a leaf Variable"), (root, "a view of a leaf Variable")):
        if y is not None and y._requires_grad and y._is_leaf:
            raise RuntimeError(f"{what} that requires grad is being used in an in-place operation.")


def check_overlap(shape: tuple, strides: tuple) -> None:
    """Raise RuntimeError as torch for what `expand` has made: its elements cannot be written one by one."""
    if any(stride == 0 and size > 1 for stride, size in zip(strides, shape, strict=True)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )


def store(x: Any, value: Any, key: Any = None, adopt: bool = False) -> None:
    """A recorded write of `value` into `x`, or into x[key] of a key that numpy understands.

    `value` has the dtype and the shape of what it replaces. With `adopt` it was computed from `x` and may be used up.
    """
    root = x.__dict__.get("_base", x)
    kin = x.__dict__.get("_kin")
    alive = kin.alive() if kin is not None else [x]
    alone = adopt and x._requires_grad and value._requires_grad and len(alive) == 1 and root is x
    if alone and not (value._is_leaf or "_kin" in value.__dict__) and MsTensor.is_contiguous(value):
        replace_impl(x, value)
        x.__dict__.pop("_np", None)
        return
    if not x.numel():
        replace_impl(x, _registry.wrap(zeros(tuple(raw_shape(x)), x.dtype, x, value)))
        return
    if not ON_CPU:
        MsTensor.copy_(x if key is None else x[key], value)  # MindSpore's own, which tracks views where it works
        return
    check_overlap(tuple(raw_shape(x)), tuple(MsTensor.stride(x)))
    here = not root._requires_grad
    places = {id(w): part(w) for w in alive}
    of, place = places.get(id(root)) or part(root), places.get(id(x)) or part(x)
    new = _registry.wrap(_Store.apply(root, value, of, place, key, here))
    if here:
        touched(root)
    replace_impl(root, new)
    for w in alive:
        if w is root:
            continue
        at = places[id(w)]
        if w.__dict__.get("_base") is root and (at.dtype.is_floating_point or at.dtype.is_complex):
            replace_impl(w, _registry.wrap(_Strided.apply(root, of, at)))
        elif not here:
            _move(w, root, at)
    for w in (root, *alive):
        w.__dict__.pop("_np", None)


def _move(w: Any, root: Any, at: Part) -> None:
    if not w._requires_grad:
        replace_impl(w, _registry.wrap(_at(root, at)))
    elif w._is_leaf:
        TensorPy.set_(w, _registry.wrap(_at(root, at)))
    else:
        replace_impl(w, _registry.wrap(_Follow.apply(w, MsTensor.data.__get__(root), at)))


def touched(x: Any) -> None:
    """Count a change of the memory of `x`, so that a backward pass that needs the old values fails, as in torch.

    Not while there are views: MindSpore would rebuild their places in the graph, with zeros for gradients on the CPU.
    """
    kin = x.__dict__.get("_kin")
    if "_base" not in x.__dict__ and (kin is None or len(kin) == 1 or len(kin.alive()) == 1):
        _set_versions([x], [x._version + 1])


from mindspore._c_expression import _unsafe_set_version_counter as _set_versions  # noqa: E402

_registry._mark_view = mark
