"""`x[...]`, gather and scatter, sorting.

Basic indexing (numbers, slices, None, ...) gives views by MindSpore's own operators. Indexing by tensors
runs on the host on the CPU, as one node of the autograd graph, because the kernels MindSpore has there
cover only part of it.
"""

import collections
from typing import Any

from .. import _capture, _dtypes, _fallback, _views
from .._inplace import assign, scatter_flat
from .._ms import ON_CPU, MsFunction, MsTensor, capturing, mint, ops
from ._common import (
    bits,
    cast,
    dims,
    from_numpy,
    host,
    is_tensor,
    memory,
    np,
    op,
    raw_dtype,
    raw_shape,
    readable,
    records,
    wrap,
    zeros,
)

TopK = collections.namedtuple("topk", ["values", "indices"])
Sort = collections.namedtuple("sort", ["values", "indices"])
_INT = (int, np.integer)


def _basic(key: Any) -> bool:
    return (
        key is None
        or key is Ellipsis
        or isinstance(key, slice)
        or (isinstance(key, _INT) and not isinstance(key, bool))
    )


def _simple(k: Any) -> Any:
    """Tensors inside slices and 0-d integer tensors as Python numbers."""
    if isinstance(k, slice):
        if k.step is not None and int(k.step) <= 0:
            raise ValueError("step must be greater than zero")
        return slice(*(None if v is None else int(v) for v in (k.start, k.stop, k.step)))
    if is_tensor(k) and not raw_shape(k) and not k.dtype.is_floating_point and k.dtype is not _dtypes.bool:
        return int(k.item())
    return k


def _normal(key: Any) -> tuple:
    keys = key if isinstance(key, tuple) else (key,)
    if isinstance(key, list) and any(isinstance(k, (slice, type(None))) or is_tensor(k) for k in key):
        keys = tuple(key)
    return tuple(_simple(k) for k in keys)


def _to_numpy_key(keys: tuple) -> tuple:
    """The key for numpy on the same memory; range checks stay numpy's."""
    out = []
    for k in keys:
        if is_tensor(k):
            if k.dtype.is_floating_point:
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            k = memory(k.detach())
            k = k.astype(bool) if k.dtype == np.uint8 else k
        elif isinstance(k, (list, range)):
            k = np.asarray([int(v) if is_tensor(v) else v for v in k])
            k = k.astype(np.int64) if k.size == 0 else k
        out.append(k)
    return tuple(out)


class _Take(MsFunction):
    """x[key] for any key numpy understands; the gradient adds up where an element was taken twice."""

    @staticmethod
    def forward(ctx: Any, x: Any, key: tuple, unique: bool) -> Any:
        ctx.key, ctx.shape, ctx.unique = key, tuple(raw_shape(x)), unique
        return from_numpy(np.ascontiguousarray(memory(x)[key]))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _PutSum.apply(wrap(grad), ctx.key, ctx.shape, ctx.unique), None, None


class _PutSum(MsFunction):
    """Zeros of `shape` with `value` added at `key`: the gradient of _Take, and _Take is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Any, key: tuple, shape: tuple, unique: bool) -> Any:
        ctx.key, ctx.unique = key, unique
        v = memory(value)
        out = np.zeros(shape, v.dtype)
        if unique:
            out[key] = v
        elif len(key) == 1 and isinstance(key[0], np.ndarray) and v.ndim >= 2 and v.dtype.kind == "f":
            _add_rows(out, key[0].reshape(-1), v.reshape(-1, *v.shape[key[0].ndim :]))
        else:
            np.add.at(out, key, v)
        return from_numpy(out)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _Take.apply(wrap(grad), ctx.key, ctx.unique), None, None, None


def _add_rows(out: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """out[rows] += values with repeated rows summed, sorted first so that each row is one reduction."""
    order = np.argsort(rows, kind="stable")
    rows = np.where(rows < 0, rows + len(out), rows)[order]
    if not len(rows):
        return
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    out[rows[starts]] = np.add.reduceat(values[order], starts, axis=0)


def _unique(key: tuple) -> bool:
    """Whether no element can be taken twice."""
    return all(not isinstance(k, np.ndarray) or k.dtype == bool for k in key)


def _getitem(x: Any, key: Any) -> Any:
    keys = _normal(key)
    if all(_basic(k) for k in keys):
        _check_range(x, keys)
        return _basic_view(x, keys)
    if any(isinstance(k, bool) for k in keys):
        keys = tuple(np.asarray(k) if isinstance(k, bool) else k for k in keys)
    if capturing():
        return _capture.take(x, keys)
    if ON_CPU:
        if raw_dtype(x) is _dtypes.bfloat16.ms:
            return cast(wrap(_getitem(cast(x, _dtypes.float32), key)), _dtypes.bfloat16)
        nkey = _to_numpy_key(keys)
        if records(x):
            return _Take.apply(x, nkey, _unique(nkey))
        return from_numpy(np.ascontiguousarray(memory(x)[nkey]))
    return MsTensor.__getitem__(x, keys)


def _check_range(x: Any, keys: tuple) -> None:
    shape, d = raw_shape(x), 0
    used = sum(1 for k in keys if k is not None and k is not Ellipsis)
    if used > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    for k in keys:
        if k is None:
            continue
        if k is Ellipsis:
            d += len(shape) - used
            continue
        if isinstance(k, _INT) and not -shape[d] <= k < shape[d]:
            raise IndexError(f"index {k} is out of bounds for dimension {d} with size {shape[d]}")
        d += 1


def _basic_view(x: Any, keys: tuple) -> Any:
    """Numbers, slices, None and ... as a view. MindSpore cannot make views without elements."""
    shape = raw_shape(x)
    if ON_CPU and not capturing() and 0 not in shape:
        return _strided_view(x, keys)
    slices = [k for k in keys if isinstance(k, slice)]
    if 0 in shape or any(k.indices(2**62)[0] == k.indices(2**62)[1] or k.stop is not None or k.start for k in slices):
        probe = np.broadcast_to(np.empty((), x.dtype.np), tuple(shape))[keys]
        if 0 in probe.shape:
            return zeros(probe.shape, x.dtype, x)
    if not keys or all(k is Ellipsis for k in keys):
        return mint.reshape(x, tuple(shape))
    if capturing():
        return _capture.cut(x, keys)
    return MsTensor.__getitem__(x, keys if len(keys) > 1 else keys[0])


def _strided_view(x: Any, keys: tuple) -> Any:
    """The same by arithmetic on strides: one operator however long the key is."""
    sizes, steps, at = tuple(raw_shape(x)), tuple(MsTensor.stride(x)), x.storage_offset()
    shape: list[int] = []
    strides: list[int] = []
    d, rest = 0, len(sizes) - sum(1 for k in keys if k is not None and k is not Ellipsis)
    for k in keys if Ellipsis in keys else (*keys, Ellipsis):
        if k is None:
            shape.append(1)
            strides.append(0)
        elif k is Ellipsis:
            shape.extend(sizes[d : d + rest])
            strides.extend(steps[d : d + rest])
            d += rest
        elif isinstance(k, slice):
            begin, end, step = k.indices(sizes[d])
            shape.append(len(range(begin, end, step)))
            strides.append(steps[d] * step)
            at += steps[d] * begin
            d += 1
        else:
            at += steps[d] * (int(k) % sizes[d])
            d += 1
    return _views.strided(x, tuple(shape), tuple(strides), at)


op("Tensor.__getitem__", view=True)(_getitem)


@op("Tensor.__setitem__")
def setitem(self: Any, key: Any, value: Any) -> None:
    """`self[key] = value`, broadcast and converted; recorded when autograd watches."""
    from .._inplace import is_meta

    if is_meta(self):
        return
    keys = _normal(key)
    if any(isinstance(k, bool) for k in keys):
        keys = tuple(np.asarray(k) if isinstance(k, bool) else k for k in keys)
    if not is_tensor(value):
        value = _value(value, self.dtype)
    elif raw_dtype(value) is not raw_dtype(self):
        value = cast(value, self.dtype)
    if not ON_CPU and not records(self, value):
        MsTensor.__setitem__(self, keys if len(keys) > 1 else keys[0], value)
        return
    if capturing():
        if not readable(*_capture.tensors_in(keys)):
            assign(self, _capture.put(self, keys, wrap(value)))
            return
        recorded = not readable(self, value)
    else:
        recorded = records(self, value)
    nkey = _to_numpy_key(keys)
    if not recorded:
        target, source = bits(self), bits(value)
        target[nkey] = _fit(source, target, nkey)
        _views.touched(self)
        return
    if not capturing():
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            setitem.impls["any"](self, key, value.detach())
            return
        _views.check_recorded(self)
    shape = np.broadcast_to(np.empty((), bool), tuple(raw_shape(self)))[nkey].shape
    extra = len(raw_shape(value)) - len(shape)
    v = wrap(value)
    if extra > 0:
        v = v.reshape(tuple(raw_shape(value))[extra:])
    v = v.expand(shape) if tuple(raw_shape(v)) != shape else v
    if 0 in shape:
        if not capturing() and records(v):
            assign(self, self + wrap(zeros((), self.dtype, v)))  # nothing is stored, but the graph goes on from here
        return
    if capturing():
        positions = np.arange(self.numel()).reshape(tuple(raw_shape(self)))[nkey]
        assign(self, scatter_flat(self, positions.reshape(-1), v))
    else:
        _views.store(self, v, nkey)


def _value(value: Any, dtype: _dtypes.dtype) -> Any:
    from .creation import tensor

    return wrap(tensor.impls["any"](value, dtype=dtype))


def _fit(source: np.ndarray, target: np.ndarray, key: tuple) -> np.ndarray:
    """torch drops leading dimensions of one that numpy insists on."""
    while source.ndim and source.shape[0] == 1:
        try:
            np.broadcast_shapes(source.shape, target[key].shape)
            if source.ndim <= target[key].ndim:
                break
        except ValueError:
            pass
        source = source[0]
    return source


def _long(x: Any) -> np.ndarray:
    return memory(x.detach())


@op("gather")
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on; `index` may be smaller than `input`."""
    (d,) = dims(dim, len(raw_shape(input)))
    if not raw_shape(input):
        return input.clone() if not raw_shape(index) else input.expand(raw_shape(index)).clone()
    if not ON_CPU:
        return mint.gather(input, d, index)
    if capturing() and not readable(index):
        return ops.gather_elements(input, d, index)
    return _getitem(input, _along(index, d, tuple(raw_shape(input))))


def _along(index: Any, d: int, shape: tuple[int, ...]) -> tuple:
    """The index arrays that pick `index` along `d` and everything else in place."""
    i = _long(index)
    if i.size and (i.min() < -shape[d] or i.max() >= shape[d]):
        raise RuntimeError(f"index {int(i.max())} is out of bounds for dimension {d} with size {shape[d]}")
    grid = [np.arange(s).reshape([-1 if j == k else 1 for j in range(i.ndim)]) for k, s in enumerate(i.shape)]
    grid[d] = i
    return tuple(wrap(from_numpy(np.ascontiguousarray(np.broadcast_to(g, i.shape)))) for g in grid)


@op("take_along_dim")
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """`gather` with broadcasting; without `dim`, of the flattened input."""
    if dim is None:
        return gather.impls["any"](input.reshape(-1), 0, indices.reshape(-1))
    (d,) = dims(dim, len(raw_shape(input)))
    a, b = list(raw_shape(input)), list(raw_shape(indices))
    shape = [max(x, y) if i != d else None for i, (x, y) in enumerate(zip(a, b, strict=True))]
    full = [s if s is not None else a[d] for s in shape]
    index = [s if s is not None else b[d] for s in shape]
    return gather.impls["any"](input.expand(full), d, indices.expand(index))


@op("index_select")
def index_select(input: Any, dim: int, index: Any) -> Any:
    """The entries `index` along `dim`."""
    (d,) = dims(dim, len(raw_shape(input)))
    if not ON_CPU:
        return mint.index_select(input, d, index)
    return _getitem(input, (slice(None),) * d + (index.reshape(-1),))


@op("as_strided")
def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """The elements at `storage_offset` + strides in the tensor's memory; a copy where PyTorch gives a view.

    Strides count elements of the memory, not of the tensor: a transposed tensor gives what lies there. Only elements
    that belong to the tensor can be taken; others raise RuntimeError.
    """
    size, stride = tuple(int(s) for s in size), tuple(int(s) for s in stride)
    own = raw_shape(input)
    start = 0 if storage_offset is None else int(storage_offset) - input.storage_offset()

    def offsets(shape: Any, strides: Any, first: int) -> np.ndarray:
        at = np.full((1,) * len(shape), first, np.int64)
        for d, (n, step) in enumerate(zip(shape, strides, strict=True)):
            at = at + (np.arange(n) * step).reshape([-1 if i == d else 1 for i in range(len(shape))])
        return at

    wanted, held = offsets(size, stride, start), offsets(own, input.stride(), 0).reshape(-1)
    order = np.argsort(held, kind="stable")
    at = np.searchsorted(held, wanted, sorter=order)
    found = order[np.minimum(at, held.size - 1)] if held.size else np.zeros(wanted.shape, np.int64)
    if wanted.size and (not held.size or (held[found] != wanted).any()):
        raise RuntimeError(
            f"as_strided: size {size}, stride {stride}, storage_offset {storage_offset} reaches outside the tensor of "
            f"shape {tuple(own)}"
        )
    return _getitem(input.reshape(-1), wrap(from_numpy(np.ascontiguousarray(found))))


@op("take")
def take(input: Any, index: Any) -> Any:
    """Elements of the flattened input."""
    return _getitem(input.reshape(-1), index)


@op("masked_select")
def masked_select(input: Any, mask: Any) -> Any:
    """The elements where the mask holds, as a vector."""
    shape = np.broadcast_shapes(tuple(raw_shape(input)), tuple(raw_shape(mask)))
    return _getitem(input.expand(shape), mask.expand(shape))


@op("index_fill")
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """`value` in the entries `index` along `dim`."""
    (d,) = dims(dim, len(raw_shape(input)))
    return _with_set(input, (slice(None),) * d + (index,), value)


@op("index_copy")
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """`source` in the entries `index` along `dim`."""
    (d,) = dims(dim, len(raw_shape(input)))
    return _with_set(input, (slice(None),) * d + (index,), source)


def _with_set(x: Any, key: tuple, value: Any) -> Any:
    out = x.clone()
    out[key] = value
    return out


@op("Tensor.index_copy_")
def index_copy_(self: Any, dim: int, index: Any, source: Any) -> Any:
    """`index_copy` in place, writing only what changes: a cache update costs its new rows, not the cache."""
    (d,) = dims(dim, len(raw_shape(self)))
    if not raw_shape(self):
        return self.copy_(source.reshape(())) if index.numel() else self
    self[(slice(None),) * d + (index,)] = source
    return self


@op("index_put")
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """input[indices] = values, or += with `accumulate`."""
    if not accumulate:
        return _with_set(input, tuple(indices), values)
    if capturing() and not readable(input, values, *indices):
        return _capture.add_at(input, tuple(indices), values.to(input.dtype))
    key = _to_numpy_key(tuple(indices))
    picked = np.empty(tuple(raw_shape(input)), np.int8)[key].shape
    return input + wrap(_PutSum.apply(values.to(input.dtype).expand(picked), key, tuple(raw_shape(input)), False))


@op("index_add")
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """`source` added to the entries `index` along `dim`; repeated entries add up."""
    (d,) = dims(dim, len(raw_shape(input)))
    a, b = list(raw_shape(input)), list(raw_shape(source))
    if raw_shape(input) and raw_shape(source) and a[:d] + a[d + 1 :] != b[:d] + b[d + 1 :]:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
            f"{a} source.shape = {b}"
        )
    source = source if alpha == 1 else source * alpha
    if not ON_CPU:
        return mint.index_add(input, d, index, source)
    if capturing() and not readable(input, index, source):
        return _capture.add_at(input, (*(slice(None),) * d, index), wrap(source))
    key = (slice(None),) * d + (_long(index),)
    if host(input, source):
        out = np.array(memory(input), order="C")
        if d == 0 and out.ndim > 1 and out.dtype.kind == "f" and len(key[0]):
            extra = np.zeros_like(out)
            _add_rows(extra, key[0], memory(source))
            out += extra
        else:
            np.add.at(out, key, memory(source))
        return from_numpy(out)
    return input + wrap(_PutSum.apply(wrap(source), key, tuple(raw_shape(input)), False))


@op("scatter")
def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """input with `src` (or a number) written at `index` along `dim`."""
    src = value if src is None else src
    if reduce is not None:
        raise NotImplementedError("scatter with reduce")
    if is_tensor(src) and raw_dtype(src) is not raw_dtype(input):
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    (d,) = dims(dim, len(raw_shape(input)))
    if capturing() and not readable(index):
        src = src if is_tensor(src) else input.new_full(tuple(raw_shape(index)), src)
        src = src[tuple(slice(0, s) for s in raw_shape(index))]
        return ops.tensor_scatter_elements(input, index, cast(src, input.dtype), d)
    if not ON_CPU:
        return mint.scatter(input, d, index, src)
    key = _along(index, d, tuple(raw_shape(input)))
    if is_tensor(src) and tuple(raw_shape(src)) != tuple(raw_shape(index)):
        src = src[tuple(slice(0, s) for s in raw_shape(index))]
    return _with_set(input, key, src)


@op("scatter_add")
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """input with `src` added at `index` along `dim`."""
    if raw_dtype(src) is not raw_dtype(input):
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    (d,) = dims(dim, len(raw_shape(input)))
    if capturing() and not readable(input, index, src):
        src = src[tuple(slice(0, s) for s in raw_shape(index))]
        return ops.tensor_scatter_elements(input, index, src, d, "add")
    if not ON_CPU:
        return mint.scatter_add(input, d, index, src)
    key = _to_numpy_key(_along(index, d, tuple(raw_shape(input))))
    src = src[tuple(slice(0, s) for s in raw_shape(index))] if tuple(raw_shape(src)) != tuple(raw_shape(index)) else src
    return input + wrap(_PutSum.apply(wrap(src), key, tuple(raw_shape(input)), False))


@op("masked_scatter")
def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """`source`'s elements in order where the mask holds."""
    if raw_dtype(mask) is not _dtypes.bool.ms:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if raw_dtype(source) is not raw_dtype(input):
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes")
    if ON_CPU and raw_dtype(input) is _dtypes.bfloat16.ms:
        raise NotImplementedError("masked_scatter of bfloat16")
    shape = np.broadcast_shapes(tuple(raw_shape(input)), tuple(raw_shape(mask)))
    mask = mask.expand(shape)
    positions = np.flatnonzero(memory(mask.detach()))
    if source.numel() < positions.size:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes and enough elements in source")
    x = input.expand(shape)
    if not positions.size:
        return x.clone()
    return scatter_flat(x.contiguous(), positions, cast(source, input.dtype).reshape(-1)[: positions.size])


@op("nonzero")
def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The indices of non-zero elements: (n, rank) int64, or one vector per dimension."""
    if not ON_CPU:
        return mint.nonzero(input, as_tuple=as_tuple)
    found = (
        np.nonzero(np.atleast_1d(memory(input.detach())))
        if raw_shape(input) == ()
        else np.nonzero(memory(input.detach()))
    )
    if as_tuple:
        return tuple(from_numpy(np.ascontiguousarray(f)) for f in found)
    return from_numpy(np.ascontiguousarray(np.stack(found, -1).reshape(-1, len(raw_shape(input)))))


@op("argwhere")
def argwhere(input: Any) -> Any:
    """`nonzero`."""
    return nonzero.impls["any"](input)


def _order(x: Any, d: int, descending: bool) -> np.ndarray:
    """Stable sort order, NaN last (first when descending), as torch."""
    a = memory(x.detach())
    if not descending:
        return np.argsort(a, axis=d, kind="stable")
    flipped = np.flip(a, d)
    back = np.flip(np.argsort(flipped, axis=d, kind="stable"), d)
    return a.shape[d] - 1 - back


def _take_order(x: Any, order: np.ndarray, d: int) -> Any:
    index = wrap(from_numpy(np.ascontiguousarray(order.astype(np.int64))))
    return wrap(gather.impls["any"](x, d, index)), index


@op("sort")
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in order along `dim`; always stable on the CPU."""
    if not ON_CPU:
        return Sort(*mint.sort(input, dim=dim, descending=descending, stable=stable))
    if not raw_shape(input):
        dims(dim, 0)
        return Sort(input.clone(), from_numpy(np.zeros((), np.int64)))
    (d,) = dims(dim, len(raw_shape(input)))
    if not readable(input):
        return Sort(*_capture.order(input, d, descending))
    return Sort(*_take_order(input, _order(input, d, descending), d))


@op("argsort")
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The indices that sort along `dim`."""
    if not ON_CPU:
        return mint.argsort(input, dim, descending, stable)
    (d,) = dims(dim, len(raw_shape(input)))
    if not raw_shape(input):
        return from_numpy(np.zeros((), np.int64))
    if not readable(input):
        return _capture.order(input, d, descending)[1]
    return from_numpy(np.ascontiguousarray(_order(input, d, descending).astype(np.int64)))


@op("topk")
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) along `dim`: (values, indices), in order."""
    k = int(k)
    if not ON_CPU:
        return TopK(*mint.topk(input, k, dim, largest, sorted))
    (d,) = dims(dim, len(raw_shape(input)))
    n = raw_shape(input)[d] if raw_shape(input) else 1
    if k > n:
        raise RuntimeError("selected index k out of range")
    if not raw_shape(input):
        return TopK(input.clone(), from_numpy(np.zeros((), np.int64)))
    if not readable(input):
        ordered = _capture.order(input, d, largest)
        return TopK(*(t.narrow(d, 0, k) for t in ordered))
    a = memory(input.detach())
    if n > 4096 and k * 8 < n and not (a.dtype.kind == "f" and np.isnan(a).any()):
        part = np.take(
            np.argpartition(a, n - k if largest else k - 1, axis=d), range(n - k, n) if largest else range(k), axis=d
        )
        part.sort(axis=d)
        inner = _order(wrap(from_numpy(np.ascontiguousarray(np.take_along_axis(a, part, d)))), d, largest)
        order = np.take_along_axis(part, inner, d)
    else:
        order = np.take(_order(input, d, largest), range(k), axis=d)
    if k and _tied(a, np.take_along_axis(a, order, d), d):
        # Which of equal values comes first is up to PyTorch's partial sort; sparse attention selects among them.
        found = _fallback.run("topk", _fallback.real.topk, input.detach(), k, d, largest, sorted, reason="ties")
        order = memory(found[1])
    return TopK(*_take_order(input, order, d))


def _tied(a: np.ndarray, taken: np.ndarray, d: int) -> bool:
    """Whether any of the sorted values `taken` from `a` stands in `a` more than once."""
    last = taken.shape[d] - 1
    if (np.take(taken, range(last), axis=d) == np.take(taken, range(1, last + 1), axis=d)).any():
        return True
    return bool(((a == np.take(taken, [-1], axis=d)).sum(axis=d) > 1).any())


@op("searchsorted")
def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Where values would be inserted into a sorted vector."""
    if len(raw_shape(sorted_sequence)) != 1 or sorter is not None or not ON_CPU:
        raise NotImplementedError("searchsorted over several sequences")
    if not readable(sorted_sequence, *(t for t in (input,) if is_tensor(t))):
        value = input.unsqueeze(-1) if is_tensor(input) else input
        right = right or side == "right"
        below = sorted_sequence <= value if right else sorted_sequence < value
        return below.sum(-1).to(_dtypes.int32 if out_int32 else _dtypes.int64)
    at = np.searchsorted(
        memory(sorted_sequence.detach()),
        memory(input.detach()) if is_tensor(input) else input,
        "right" if right or side == "right" else "left",
    )
    return from_numpy(np.asarray(at).astype(np.int32 if out_int32 else np.int64))


@op("bucketize")
def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """`searchsorted` with the arguments the other way round."""
    return searchsorted.impls["any"](boundaries, input, out_int32=out_int32, right=right)


@op("isin")
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is among the test elements."""
    if not readable(*(t for t in (elements, test_elements) if is_tensor(t))):
        among = test_elements.reshape(-1) if is_tensor(test_elements) else test_elements
        found = (elements.unsqueeze(-1) == among).any(-1) if is_tensor(elements) else (elements == among).any()
        return ~found if invert else found
    a = memory(elements) if is_tensor(elements) else elements
    b = memory(test_elements) if is_tensor(test_elements) else test_elements
    return from_numpy(np.asarray(np.isin(a, b, assume_unique, invert)))


@op("bincount")
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each value from 0 on occurs."""
    if not ON_CPU:
        return mint.bincount(input, weights, minlength)
    found = np.bincount(memory(input), None if weights is None else memory(weights), minlength)
    return from_numpy(found.astype(np.float32) if weights is not None and weights.dtype is _dtypes.float32 else found)


@op("_C._nn.one_hot", "nn.functional.one_hot")
def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """One at each class index, zero elsewhere; int64 with a new last dimension."""
    if not ON_CPU:
        return mint.nn.functional.one_hot(tensor, num_classes)
    if num_classes != -1 and not readable(tensor):
        return (tensor.unsqueeze(-1) == wrap(from_numpy(np.arange(num_classes)))).long()
    a = memory(tensor)
    n = int(a.max()) + 1 if num_classes == -1 else num_classes
    if a.size and (a.min() < 0 or a.max() >= n):
        raise RuntimeError("Class values must be smaller than num_classes.")
    return from_numpy(np.ascontiguousarray((a[..., None] == np.arange(n)).astype(np.int64)))
