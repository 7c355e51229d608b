"""Views, joins, copies. Views share memory with their base, as in torch."""

import math
from typing import Any

from .. import _capture, _dtypes, _registry, _views
from .._ms import ON_CPU, MsTensor, TensorPy, gen, jit_state, mint, pyboost_reshape
from ._common import (
    capturing,
    cast,
    dims,
    from_numpy,
    host,
    is_tensor,
    memory,
    np,
    op,
    ops,
    raw_dtype,
    raw_shape,
    records,
    shape_args,
    wrap,
    zeros,
)


def _known(x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Replace one -1; raises RuntimeError as torch for a shape that does not fit."""
    n = math.prod(raw_shape(x))
    if -1 in shape:
        rest = 1
        for s in shape:
            rest *= s if s != -1 else 1
        if shape.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        if rest == 0 or n % rest:
            if n == 0 and rest == 0:
                raise RuntimeError(
                    f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
                    "dimension size -1 can be any value"
                )
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
        return tuple(n // rest if s == -1 else s for s in shape)
    if math.prod(shape) != n:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return shape


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    if 0 in raw_shape(x):
        return zeros(shape, x.dtype) if not x._requires_grad else ops.reshape(x, shape)
    if ON_CPU and not TensorPy.is_contiguous(x) and not capturing():
        strides = _strides_for(tuple(raw_shape(x)), tuple(MsTensor.stride(x)), shape)
        if strides is not None:
            return _views.strided(x, shape, strides, x.storage_offset())
        x = contiguous(x)
    return mint.reshape(x, shape)


def _permute(x: Any, order: tuple[int, ...]) -> Any:
    """The dimensions in another order. MindSpore's recorder does not see its view, which costs less outside graphs."""
    return ops.transpose(x, order) if capturing() else mint.permute(x, order)


def _swap(x: Any, a: int, b: int) -> Any:
    if not capturing():
        return mint.transpose(x, a, b)
    order = list(range(len(raw_shape(x))))
    order[a], order[b] = order[b], order[a]
    return ops.transpose(x, tuple(order))


def _strides_for(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides that make `new` a view of a tensor without a copy; None if there are none (ATen's computeStride)."""
    out = [0] * len(new)
    at, base = len(new) - 1, strides[-1] if old else 1
    had = got = 1
    for d in reversed(range(len(old))):
        had *= old[d]
        if d == 0 or (old[d - 1] != 1 and strides[d - 1] != had * base):
            while at >= 0 and (got < had or new[at] == 1):
                out[at] = got * base
                got *= new[at]
                at -= 1
            if got != had:
                return None
            if d:
                base = strides[d - 1]
                had = got = 1
    return tuple(out) if at < 0 else None


@op("Tensor.view", view=True)
def view(self: Any, *shape: Any, dtype: Any = None) -> Any:
    """The same memory under another shape, or another dtype of the same size."""
    if ON_CPU and len(shape) > 1 and jit_state._jit_context is None:  # the usual call, by few questions
        n, have = math.prod(shape), math.prod(raw_shape(self))
        if (
            n.__class__ is int
            and have
            and (-1 not in shape if n == have else n < 0 and have % n == 0 and shape.count(-1) == 1)
            and TensorPy.is_contiguous(self)
        ):
            return _views.share(pyboost_reshape(gen.reshape_op, [self, shape]), self)
    if dtype is not None or (shape and isinstance(shape[0], _dtypes.dtype)):
        return _view_dtype(self, dtype or shape[0])
    return _reshape(self, _known(self, shape_args(shape)))


def _view_dtype(x: Any, dtype: _dtypes.dtype) -> Any:
    if dtype is x.dtype:
        return x
    if not ON_CPU:
        return gen.view_dtype_op(x, dtype.ms)
    shape, strides, at = list(raw_shape(x)), list(MsTensor.stride(x)), x.storage_offset()
    have, want = x.itemsize, dtype.itemsize
    if have != want:
        if not shape:
            raise RuntimeError("self.dim() cannot be 0 to view tensors of different element sizes")
        in_order = strides[-1] == 1
        if have > want and not in_order or have < want and not (in_order and shape[-1] * have % want == 0):
            raise RuntimeError(
                f"self.size(-1) must be divisible by {want // have} and self.stride(-1) must be 1 to view {x.dtype} "
                f"as {dtype} (different element sizes), but got {shape[-1]} and {strides[-1]}"
            )
        if any(s * have % want for s in (at, *strides[:-1])):
            raise RuntimeError(f"the strides and offset of {x.dtype} do not fit {dtype}, which is {want} bytes wide")
        shape[-1] = shape[-1] * have // want
        strides = [*(s * have // want for s in strides[:-1]), 1]
        at = at * have // want
    return _views.strided(x, tuple(shape), tuple(strides), at, dtype)


_PARTS = {"complex64": "float32", "complex128": "float64", "float32": "complex64", "float64": "complex128"}


def _component(x: Any, which: int) -> Any:
    dtype = _dtypes.as_dtype(_PARTS[x.dtype.name])
    strides = tuple(2 * s for s in MsTensor.stride(x))
    return _views.strided(x, tuple(raw_shape(x)), strides, 2 * x.storage_offset() + which, dtype)


@op("real", view=True)
def real(input: Any) -> Any:
    """The real part, as a view; a real tensor as it is."""
    if not input.dtype.is_complex:
        return input
    return _component(input, 0) if ON_CPU else ops.real(input)


@op("imag", view=True)
def imag(input: Any) -> Any:
    """The imaginary part, as a view."""
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _component(input, 1) if ON_CPU else ops.imag(input)


@op("view_as_real", view=True)
def view_as_real(input: Any) -> Any:
    """Real and imaginary parts of a complex tensor as a new last dimension of two; a view."""
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    if not ON_CPU:
        return stack.impls["any"]([wrap(ops.real(input)), wrap(ops.imag(input))], -1)
    strides = (*(2 * s for s in MsTensor.stride(input)), 1)
    dtype = _dtypes.as_dtype(_PARTS[input.dtype.name])
    return _views.strided(input, (*raw_shape(input), 2), strides, 2 * input.storage_offset(), dtype)


@op("view_as_complex", view=True)
def view_as_complex(input: Any) -> Any:
    """A last dimension of two as real and imaginary part; a view. The inverse of `view_as_real`."""
    shape, strides, at = tuple(raw_shape(input)), tuple(MsTensor.stride(input)), input.storage_offset()
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError(
            f"view_as_complex is only supported for half, float and double tensors, but got {input.dtype}"
        )
    if not shape or shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if not ON_CPU:
        return ops.Complex()(input[..., 0].contiguous(), input[..., 1].contiguous())
    if strides[-1] != 1 or at % 2 or any(s % 2 for s, n in zip(strides[:-1], shape[:-1], strict=True) if n > 1):
        raise RuntimeError("Tensor must have a last dimension with stride 1, and all else divisible by 2")
    return _views.strided(
        input, shape[:-1], tuple(s // 2 for s in strides[:-1]), at // 2, _dtypes.as_dtype(_PARTS[input.dtype.name])
    )


@op("as_strided", view=True)
def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A view of the tensor's memory with any sizes, strides and offset, in elements; bounds are checked."""
    at = input.storage_offset() if storage_offset is None else int(storage_offset)
    return _views.strided(input, shape_args((size,)), shape_args((stride,)), at)


@op("reshape", view=True)
def reshape(input: Any, *shape: Any) -> Any:
    """The same elements under another shape; a view where possible."""
    return _reshape(input, _known(input, shape_args(shape)))


@op("Tensor.view_as", "Tensor.reshape_as", view=True)
def view_as(self: Any, other: Any) -> Any:
    """`view` with the shape of `other`."""
    return _reshape(self, _known(self, tuple(raw_shape(other))))


@op("flatten", view=True)
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Join the dimensions from `start_dim` to `end_dim`."""
    shape = tuple(raw_shape(input))
    if not shape:
        return mint.reshape(input, (1,))
    (a,), (b,) = dims(start_dim, len(shape)), dims(end_dim, len(shape))
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    n = 1
    for s in shape[a : b + 1]:
        n *= s
    return _reshape(input, (*shape[:a], n, *shape[b + 1 :]))


@op("ravel", view=True)
def ravel(input: Any) -> Any:
    """One dimension."""
    return _reshape(input, (input.numel(),))


@op("unflatten", view=True)
def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Split dimension `dim` into `sizes`."""
    shape = tuple(raw_shape(input))
    (d,) = dims(dim, len(shape))
    sizes = tuple(int(s) for s in sizes)
    return _reshape(input, _known(input, (*shape[:d], *sizes, *shape[d + 1 :])))


@op("transpose", "swapaxes", "swapdims", view=True)
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Swap two dimensions."""
    rank = len(raw_shape(input))
    if rank == 0:
        return input
    (a,), (b,) = dims(dim0, rank), dims(dim1, rank)
    return _swap(input, a, b)


@op("permute", view=True)
def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in another order."""
    order = shape_args(dims)
    rank = len(raw_shape(input))
    if sorted(d % rank if rank else d for d in order) != list(range(rank)):
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the "
            f"desired ordering of dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(order)}"
        )
    return _permute(input, tuple(d % rank for d in order)) if rank else input


@op("movedim", "moveaxis", view=True)
def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Move dimensions to new places."""
    rank = len(raw_shape(input))
    src, dst = dims(source, rank), dims(destination, rank)
    if len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise RuntimeError(f"movedim: repeated dim in `source` ({source}) or `destination` ({destination})")
    order: list[Any] = [None] * rank
    for s, d in zip(src, dst, strict=True):
        order[d] = s
    rest = iter(i for i in range(rank) if i not in src)
    return _permute(input, tuple(next(rest) if o is None else o for o in order))


@op("t", "Tensor.t", view=True)
def t(input: Any) -> Any:
    """Transpose of a matrix; vectors as they are."""
    if len(raw_shape(input)) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(raw_shape(input))}D")
    return input if len(raw_shape(input)) < 2 else _swap(input, 0, 1)


@op("adjoint", view=True)
def adjoint(input: Any) -> Any:
    """Swap the last two dimensions (and conjugate complex ones)."""
    if input.dtype.is_complex:
        input = _registry.lookup("conj")(input)
    return _swap(input, -2, -1)


@op("unsqueeze", view=True)
def unsqueeze(input: Any, dim: int) -> Any:
    """A dimension of one at `dim`."""
    (d,) = dims(dim, len(raw_shape(input)) + 1)
    return ops.expand_dims(input, d) if capturing() else mint.unsqueeze(input, d)


@op("squeeze", view=True)
def squeeze(input: Any, dim: Any = None, *more: int) -> Any:
    """Drop dimensions of one: all, or those named that are one."""
    shape = tuple(raw_shape(input))
    if dim == ():
        return _reshape(input, shape)
    which = range(len(shape)) if dim is None else dims((dim, *more) if more else dim, len(shape))
    return _reshape(input, tuple(s for i, s in enumerate(shape) if not (i in which and s == 1)))


@op("Tensor.expand", "broadcast_to", view=True)
def expand(self: Any, *size: Any, implicit: bool = False) -> Any:
    """Repeat dimensions of one without copying; -1 keeps a size."""
    size_ = shape_args(size)
    shape = tuple(raw_shape(self))
    lead = len(size_) - len(shape)
    if lead < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(size_)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({len(shape)})"
        )
    want = []
    for i, s in enumerate(size_):
        have = shape[i - lead] if i >= lead else 1
        if s == -1:
            s = have
        if have not in (1, s):
            raise RuntimeError(
                f"The expanded size of the tensor ({s}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(size_)}.  Tensor sizes: {list(shape)}"
            )
        want.append(s)
    if 0 in want:
        return zeros(tuple(want), self.dtype, self)
    return MsTensor.broadcast_to(self, tuple(want)) if tuple(want) != shape else _reshape(self, shape)


@op("Tensor.expand_as", view=True)
def expand_as(self: Any, other: Any) -> Any:
    """`expand` to the shape of `other`."""
    return expand.impls["any"](self, tuple(raw_shape(other)))


@op("broadcast_tensors")
def broadcast_tensors(*tensors: Any) -> Any:
    """All tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    shape = np.broadcast_shapes(*(tuple(raw_shape(x)) for x in tensors))
    return tuple(x.expand(shape) for x in tensors)


@op("narrow", view=True)
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """`length` entries from `start` along `dim`."""
    if not raw_shape(input):
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    (d,) = dims(dim, len(raw_shape(input)))
    if is_tensor(start) and (raw_shape(start) or start.dtype.is_floating_point or start.dtype is _dtypes.bool):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    n, start, length = raw_shape(input)[d], int(start), int(length)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return input[(slice(None),) * d + (slice(start, start + length),)]


@op("select", view=True)
def select(input: Any, dim: int, index: Any) -> Any:
    """The entry `index` along `dim`."""
    (d,) = dims(dim, len(raw_shape(input)))
    return input[(slice(None),) * d + (int(index),)]


def _slices(x: Any, d: int, sizes: list[int]) -> tuple:
    out, at = [], 0
    for n in sizes:
        out.append(x[(slice(None),) * d + (slice(at, at + n),)])
        at += n
    return tuple(out)


@op("split", "Tensor.split_with_sizes", "split_with_sizes")
def split(tensor: Any, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> tuple:
    """Pieces of a size (the last may be smaller) or of the given sizes; views."""
    (d,) = dims(dim, len(raw_shape(tensor)))
    n = raw_shape(tensor)[d]
    by = split_size if split_size is not None else split_size_or_sections
    if isinstance(by, (list, tuple)):
        sizes = [int(s) for s in by]
        if len(sizes) and n != __import__("builtins").sum(sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension "
                f"{dim}), but got split_sizes={sizes}"
            )
    else:
        by = int(by)
        sizes = [min(by, n - i) for i in range(0, n, by)] or [0]
    return _slices(tensor, d, sizes)


@op("chunk")
def chunk(input: Any, chunks: int, dim: int = 0) -> tuple:
    """At most `chunks` pieces of equal size (the last may be smaller); views."""
    (d,) = dims(dim, len(raw_shape(input)))
    n = raw_shape(input)[d]
    return split.impls["any"](input, max(1, -(-n // chunks)), d)


@op("tensor_split")
def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple:
    """Pieces at the given indices, or as equal as possible."""
    (d,) = dims(dim, len(raw_shape(input)))
    n = raw_shape(input)[d]
    if isinstance(indices_or_sections, int):
        q, r = divmod(n, indices_or_sections)
        sizes = [q + (i < r) for i in range(indices_or_sections)]
    else:
        at = [0, *(min(int(i), n) for i in indices_or_sections), n]
        sizes = [max(b - a, 0) for a, b in zip(at, at[1:], strict=False)]
    return _slices(input, d, sizes)


@op("unbind")
def unbind(input: Any, dim: int = 0) -> tuple:
    """All entries along `dim`; views."""
    (d,) = dims(dim, len(raw_shape(input)))
    return tuple(input[(slice(None),) * d + (i,)] for i in range(raw_shape(input)[d]))


@op("cat", "concat", "concatenate")
def cat(tensors: Any, dim: int = 0) -> Any:
    """Join along `dim`. Empty one-dimensional tensors are skipped, as in torch."""
    parts = [x for x in tensors if tuple(raw_shape(x)) != (0,)] or list(tensors)[:1]
    if len(parts) == 1:
        return parts[0].clone()
    dtypes = {x.dtype for x in parts}
    if len(dtypes) > 1:
        dtype = _dtypes.result_dtype(*parts)
        parts = [cast(x, dtype) for x in parts]
    (d,) = dims(dim, len(raw_shape(parts[0])))
    if host(*parts):
        return from_numpy(np.concatenate([memory(x) for x in parts], axis=d))
    full = [x for x in parts if 0 not in raw_shape(x)]
    if len(full) < len(parts) and records(*(empty := [x for x in parts if 0 in raw_shape(x)])) and not capturing():
        if full:
            return cat.impls["any"](full, d) + zeros((), parts[0].dtype, *empty)
        size = [*raw_shape(parts[0])]
        size[d] = sum([raw_shape(x)[d] for x in parts])
        return zeros(tuple(size), parts[0].dtype, *parts)
    parts = full or parts
    return mint.cat(parts, d) if len(parts) > 1 else parts[0].clone()


@op("stack")
def stack(tensors: Any, dim: int = 0) -> Any:
    """Join along a new dimension."""
    parts = list(tensors)
    if not parts:
        raise RuntimeError("stack expects a non-empty TensorList")
    shapes = {tuple(raw_shape(x)) for x in parts}
    if len(shapes) > 1:
        raise RuntimeError(f"stack expects each tensor to be equal size, but got {sorted(shapes)}")
    (d,) = dims(dim, len(raw_shape(parts[0])) + 1)
    return cat.impls["any"]([wrap(unsqueeze.impls["any"](x, d)) for x in parts], d)


@op("hstack")
def hstack(tensors: Any) -> Any:
    """Join along the second dimension (the first of vectors)."""
    parts = [x if raw_shape(x) else x.reshape(1) for x in tensors]
    return cat.impls["any"](parts, 0 if len(raw_shape(parts[0])) == 1 else 1)


@op("vstack")
def vstack(tensors: Any) -> Any:
    """Join along the first dimension; vectors become rows."""
    return cat.impls["any"]([x if len(raw_shape(x)) > 1 else x.reshape(1, -1) for x in tensors], 0)


@op("Tensor.repeat")
def repeat(self: Any, *repeats: Any) -> Any:
    """Tile, with as many repetitions as dimensions or more."""
    times = shape_args(repeats)
    shape = (1,) * (len(times) - len(raw_shape(self))) + tuple(raw_shape(self))
    if len(times) < len(shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if host(self):
        return from_numpy(np.tile(memory(self), times).reshape(tuple(s * r for s, r in zip(shape, times, strict=True))))
    inner = [v for s in shape for v in (1, s)]
    spread = [v for s, r in zip(shape, times, strict=True) for v in (r, s)]
    out = wrap(MsTensor.broadcast_to(wrap(mint.reshape(self, tuple(inner))), tuple(spread)))
    out = out.contiguous()  # a copy: reshaping what is merely broadcast may give a view whose rows share memory
    return out.reshape(tuple(s * r for s, r in zip(shape, times, strict=True)))


@op("tile")
def tile(input: Any, *dims: Any) -> Any:
    """`repeat` with missing leading repetitions of one."""
    times = shape_args(dims)
    times = (1,) * (len(raw_shape(input)) - len(times)) + times
    return repeat.impls["any"](input, times)


@op("repeat_interleave")
def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Repeat each entry along `dim`, by one number or one per entry."""
    if repeats is None:
        counts = memory(input)
        return from_numpy(np.repeat(np.arange(len(counts)), counts))
    x = input.reshape(-1) if dim is None else input
    (d,) = dims(0 if dim is None else dim, len(raw_shape(x)))
    if is_tensor(repeats) and repeats.numel() == 1:
        repeats = repeats.item()
    if isinstance(repeats, int):
        shape = tuple(raw_shape(x))
        y = x.unsqueeze(d + 1).expand(*shape[: d + 1], repeats, *shape[d + 1 :])
        return y.reshape(*shape[:d], shape[d] * repeats, *shape[d + 1 :])
    if not ON_CPU:
        return mint.repeat_interleave(x, repeats, d)
    counts = memory(repeats) if is_tensor(repeats) else np.asarray(repeats)
    return x.index_select(d, wrap(from_numpy(np.repeat(np.arange(raw_shape(x)[d]), counts))))


@op("clone")
def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy with memory of its own; the gradient flows through."""
    if host(input):
        return from_numpy(np.array(memory(input), order="C"))
    if ON_CPU and records(input) and (input._is_leaf or 0 in raw_shape(input) or not raw_shape(input)):
        return input * 1  # MindSpore's copy of these (and of a parameter) is no node of the graph
    if raw_dtype(input) is _dtypes.bfloat16.ms and ON_CPU:
        return mint.reshape(MsTensor.copy(input), tuple(raw_shape(input)))
    return MsTensor.copy(input) if ON_CPU else mint.clone(input)


@op("Tensor.contiguous")
def contiguous(self: Any, memory_format: Any = None) -> Any:
    """The tensor itself when its memory is in order, else an ordered copy."""
    if MsTensor.is_contiguous(self) or capturing():  # a graph knows no strides
        return self
    if host(self):
        return from_numpy(np.ascontiguousarray(memory(self)))
    return MsTensor.contiguous(self)


@op("flip")
def flip(input: Any, *dims_: Any, dims: Any = None) -> Any:
    """Reversed along dimensions."""
    order = shape_args(
        (dims,) if dims is not None and isinstance(dims, (tuple, list)) else (dims_ if dims is None else (dims,))
    )
    if host(input):
        return from_numpy(np.ascontiguousarray(np.flip(memory(input), order)))
    if not input.numel() or not order:  # MindSpore's kernel dies of a division by zero
        return input * 1
    return ops.flip(input, order)


@op("roll")
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Shifted along dimensions, wrapping round."""
    if dims is None:
        return roll.impls["any"](input.reshape(-1), shifts, 0).reshape(input.shape)
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if host(input):
        return from_numpy(np.roll(memory(input), shifts, dims))
    for s, d in zip(shifts, dims, strict=True):
        n = raw_shape(input)[d]
        s = s % n if n else 0
        if s:
            input = wrap(cat.impls["any"]([input.narrow(d, n - s, s), input.narrow(d, 0, n - s)], d))
    return input


def _triangle(name: str, np_fn: Any) -> None:
    def impl(input: Any, diagonal: int = 0) -> Any:
        if len(raw_shape(input)) < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        if host(input):
            return from_numpy(np.ascontiguousarray(np_fn(memory(input), diagonal)))
        keep = wrap(from_numpy(np.ascontiguousarray(np_fn(np.ones(tuple(raw_shape(input))[-2:], bool), diagonal))))
        return input.masked_fill(~keep, 0) if raw_dtype(input) is not _dtypes.bool.ms else input & keep

    impl.__doc__ = f"The {'lower' if name == 'tril' else 'upper'} triangle of the last two dimensions; zero elsewhere."
    op(name)(impl)


_triangle("tril", np.tril)
_triangle("triu", np.triu)


@op("diagonal", view=True)
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dimensions, as a view."""
    if capturing():
        shape = tuple(raw_shape(input))
        return _capture.pick(input, np.diagonal(np.arange(input.numel()).reshape(shape), offset, dim1, dim2))
    return gen.diagonal_view_op(input, offset, dim1, dim2)


@op("Tensor.unfold", view=True)
def unfold(self: Any, dimension: int, size: int, step: int) -> Any:
    """All windows of `size` along a dimension, `step` apart, as a new last dimension."""
    shape = tuple(raw_shape(self))
    (d,) = dims(dimension, len(shape))
    if size > (shape[d] if shape else 1):
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {shape[d]} but size is {size}")
    if ON_CPU and not capturing():
        strides, n = list(MsTensor.stride(self)), (shape[d] - size) // step + 1 if shape else 1
        if not shape:
            return _views.strided(self, (size,), (1,), self.storage_offset())
        sizes = (*shape[:d], n, *shape[d + 1 :], size)
        return _views.strided(
            self, sizes, (*strides[:d], strides[d] * step, *strides[d + 1 :], strides[d]), self.storage_offset()
        )
    starts = np.arange(0, shape[d] - size + 1, step)
    index = wrap(from_numpy(starts[:, None] + np.arange(size)))
    windows = self.index_select(d, index.reshape(-1)).reshape(*shape[:d], len(starts), size, *shape[d + 1 :])
    return windows.movedim(d + 1, -1)


@op("diff")
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours, n times."""
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:
        return input.clone()
    parts = [x for x in (prepend, input, append) if x is not None]
    x = wrap(cat.impls["any"](parts, dim)) if len(parts) > 1 else input
    for _ in range(n):
        size = raw_shape(x)[dim]
        after, before = x.narrow(dim, 1, size - 1), x.narrow(dim, 0, size - 1)
        x = after ^ before if x.dtype is _dtypes.bool else after - before
    return x


@op("meshgrid")
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple:
    """Coordinate grids of vectors."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    sizes = [x.numel() for x in tensors]
    swap = indexing == "xy" and len(tensors) > 1
    out = []
    for i, x in enumerate(tensors):
        shape = [1] * len(tensors)
        at = {0: 1, 1: 0}.get(i, i) if swap else i
        shape[at] = -1
        full = [sizes[1], sizes[0], *sizes[2:]] if swap else sizes
        out.append(x.reshape(shape).expand(full))
    return tuple(out)


@op("atleast_1d")
def atleast_1d(*tensors: Any) -> Any:
    """At least one dimension."""
    out = tuple(x if raw_shape(x) else x.reshape(1) for x in tensors)
    return out[0] if len(out) == 1 else out


def _property(name: str, fn: Any, put: Any = None) -> None:
    from .. import _tensor

    setattr(_tensor.Tensor, name, property(fn, put))


def _set_part(which: str) -> Any:
    return lambda x, value: _registry.NAMESPACE[which](x).copy_(value)


_property("real", lambda x: _registry.NAMESPACE["real"](x), _set_part("real"))
_property("imag", lambda x: _registry.NAMESPACE["imag"](x), _set_part("imag"))
_property("T", lambda x: x.permute(*range(x.dim() - 1, -1, -1)))
_property("mT", lambda x: x.transpose(-2, -1))
_property("H", lambda x: x.adjoint())
_property("mH", lambda x: x.adjoint())
