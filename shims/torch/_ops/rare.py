"""Operators that few models use, composed of others."""

import collections
import math
from typing import Any

from .. import _dtypes
from .._ms import mint
from ._common import ON_CPU, cast, dims, from_numpy, host, is_tensor, memory, np, op, ops, raw_shape, shape_args, wrap
from .pointwise import _unary

AMinMax = collections.namedtuple("aminmax", ["min", "max"])


def _floating(x: Any) -> Any:
    return x if x.dtype.is_floating_point or x.dtype.is_complex else cast(x, _dtypes.get_default_dtype())


for _name, _np_fn, *_more in (
    ("asinh", np.arcsinh, "arcsinh"), ("acosh", np.arccosh, "arccosh"), ("atanh", np.arctanh, "arctanh"),
):  # fmt: skip
    _unary(_name, getattr(ops, _name), _np_fn, *_more)


@op("special.erfc")
def erfc(input: Any) -> Any:
    """1 - erf(input)."""
    return _floating(input).erfc()


@op("sinc", "special.sinc")
def sinc(input: Any) -> Any:
    """sin(pi x) / (pi x), one at zero."""
    x = _floating(input) * math.pi
    zero = x.detach() == 0
    return (x.sin() / x.masked_fill(zero, 1)).masked_fill(zero, 1)


@op("deg2rad")
def deg2rad(input: Any) -> Any:
    """Degrees to radians."""
    return _floating(input) * (math.pi / 180)


@op("rad2deg")
def rad2deg(input: Any) -> Any:
    """Radians to degrees."""
    return _floating(input) * (180 / math.pi)


@op("isneginf")
def isneginf(input: Any) -> Any:
    """Where the input is minus infinity."""
    return input == -math.inf


@op("isposinf")
def isposinf(input: Any) -> Any:
    """Where the input is plus infinity."""
    return input == math.inf


@op("ldexp")
def ldexp(input: Any, other: Any) -> Any:
    """input * 2 ** other."""
    if not is_tensor(input):
        raise TypeError(f"ldexp(): argument 'input' must be Tensor, not {type(input).__name__}")
    power = _floating(other)
    return input * cast(power.exp2(), power.dtype)


@op("dist")
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of the difference."""
    from .reduction import vector_norm

    return vector_norm.impls["any"](input - other, p)


@op("rot90")
def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Turned by 90 degrees k times, from the first of `dims` towards the second."""
    rank = len(raw_shape(input))
    if len(dims) != 2 or rank < 2:
        raise RuntimeError(f"expected total rotation dims == 2 and dims >= 2, but got {len(dims)} and {rank}")
    a, b = (d % rank if -rank <= d < rank else _out(d, rank) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    turn = k % 4
    if turn == 0:
        return input.clone()
    if turn == 2:
        return input.flip((a, b))
    return input.flip((b,)).transpose(a, b) if turn == 1 else input.flip((a,)).transpose(a, b)


def _out(d: int, rank: int) -> int:
    raise RuntimeError(f"Rotation dim {d} is out of range for a tensor of {rank} dimensions")


@op("diag")
def diag(input: Any, diagonal: int = 0) -> Any:
    """A matrix with the vector on its diagonal, or a matrix's diagonal."""
    rank = len(raw_shape(input))
    if rank == 1:
        return diag_embed.impls["any"](input, diagonal)
    if rank != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {rank}D")
    return input.diagonal(diagonal).clone()


@op("diag_embed")
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices with the last dimension on their diagonals; the new dimensions are `dim1` and `dim2`."""
    rank = len(raw_shape(input)) + 1
    (a,), (b,) = dims(dim1, rank), dims(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    offset = offset if a < b else -offset
    n = raw_shape(input)[-1]
    size = n + abs(offset)
    keep = wrap(from_numpy(np.eye(size, k=offset, dtype=bool)))
    # Column j of the matrix holds element j - max(offset, 0).
    row = input if not offset else _shifted(input, max(offset, 0), size)
    full = row.unsqueeze(-2).expand(*raw_shape(input)[:-1], size, size)
    made = full.masked_fill(~keep, 0)
    lo, hi = (a, b) if a < b else (b, a)
    return made.movedim(-2, lo).movedim(-1, hi)


def _shifted(x: Any, before: int, size: int) -> Any:
    from .neural import pad

    return wrap(pad.impls["any"](x, [before, size - before - raw_shape(x)[-1]]))


@op("block_diag")
def block_diag(*tensors: Any) -> Any:
    """Matrices (vectors are rows) along a diagonal; zero elsewhere."""
    from .neural import pad
    from .shape import cat

    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if any(len(raw_shape(x)) > 2 for x in tensors):
        raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions")
    parts = [x.reshape(1, -1) if len(raw_shape(x)) < 2 else x for x in tensors]
    width, left, rows = sum(raw_shape(x)[1] for x in parts), 0, []
    for x in parts:
        rows.append(wrap(pad.impls["any"](x, [left, width - left - raw_shape(x)[1]])))
        left += raw_shape(x)[1]
    return cat.impls["any"](rows, 0)


def _cross(input: Any, other: Any, dim: int | None) -> Any:
    shape = np.broadcast_shapes(tuple(raw_shape(input)), tuple(raw_shape(other)))
    if len(raw_shape(input)) != len(raw_shape(other)):
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if dim is None:
        dim = next((i for i, s in enumerate(raw_shape(input)) if s == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    (d,) = dims(dim, len(shape))
    if raw_shape(input)[d] != 3 or raw_shape(other)[d] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3")
    if not ON_CPU:
        return mint.linalg.cross(input, other, dim=d) if hasattr(mint, "linalg") else mint.cross(input, other, d)
    a, b = input.expand(shape), other.expand(shape)
    return a.roll(-1, d) * b.roll(-2, d) - a.roll(-2, d) * b.roll(-1, d)


@op("cross")
def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """The cross product along a dimension of size 3 (the first one unless given)."""
    return _cross(input, other, dim)


@op("linalg.cross")
def linalg_cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product along `dim`."""
    return _cross(input, other, dim)


@op("_softmax_backward_data")
def softmax_backward_data(grad_output: Any, output: Any, dim: int, input_dtype: Any) -> Any:
    """The gradient of softmax from its output."""
    grad_output, output = (cast(x, _dtypes.float32) if x.dtype.itemsize < 4 else x for x in (grad_output, output))
    product = grad_output * output
    grad = product - output * product.sum(dim, True)
    return cast(grad, _dtypes.as_dtype(input_dtype))


@op("Tensor.resize_")
def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Any:
    """Another shape: the first elements stay, more are uninitialised."""
    from .._ms import replace_impl
    from .shape import cat

    shape = shape_args(sizes)
    n, have = math.prod(shape), self.numel()
    if self._requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    flat = self.reshape(-1)
    flat = flat[:n] if n <= have else wrap(cat.impls["any"]([flat, flat.new_empty(n - have)]))
    replace_impl(self, flat.reshape(shape).clone())
    return self


@op("lcm")
def lcm(input: Any, other: Any) -> Any:
    """The least common multiple of integers."""
    if not (is_tensor(other) and host(input, other)) or input.dtype.is_floating_point or input.dtype is not other.dtype:
        raise NotImplementedError("lcm other than of integer tensors of one dtype on the CPU")
    return from_numpy(np.asarray(np.lcm(memory(input), memory(other))))


@op("embedding_bag")
def embedding_bag(
    weight: Any,
    indices: Any,
    offsets: Any,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple:
    """Sums (mode 0) or means (1) of the rows of `weight` in each bag: (bags, width), and three tensors for PyTorch."""
    if mode == 2 or scale_grad_by_freq or not ON_CPU:
        raise NotImplementedError("embedding_bag with max, or scale_grad_by_freq")
    starts, items = memory(offsets), memory(indices)
    bags = len(starts) - int(include_last_offset)
    bag = np.searchsorted(starts[:bags], np.arange(items.size), side="right") - 1
    counted = np.ones(items.shape, bool) if padding_idx is None else items != padding_idx % raw_shape(weight)[0]
    if weight.dtype.itemsize < 4:  # summed in float32, rounded once
        more = None if per_sample_weights is None else per_sample_weights.float()
        out, *others = wrap(
            embedding_bag.impl(
                weight.float(), indices, offsets, False, mode, sparse, more, include_last_offset, padding_idx
            )
        )
        return cast(out, weight.dtype), *others
    rows = weight[indices.reshape(-1)]
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    rows = rows * wrap(from_numpy(counted.astype(weight.dtype.np)[:, None]))
    zeros = wrap(from_numpy(np.zeros((bags, *raw_shape(weight)[1:]), weight.dtype.np)))
    which, sizes = wrap(from_numpy(bag.astype(np.int64))), np.bincount(bag[counted], minlength=bags)
    out = zeros.index_add(0, which, rows)
    if mode == 1:
        out = out / wrap(from_numpy(np.maximum(sizes, 1).astype(weight.dtype.np)[:, None]))
    return out, which, wrap(from_numpy(sizes.astype(np.int64))), which


@op("aminmax")
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element: of all, or along `dim`."""
    along = () if dim is None else dim
    return AMinMax(input.amin(along, keepdim), input.amax(along, keepdim))


@op("_is_all_true")
def _is_all_true(input: Any) -> Any:
    """Whether every element of a bool tensor is True, as a 0-d tensor."""
    if input.dtype is not _dtypes.bool:
        raise RuntimeError(f"_is_all_true takes a bool tensor, not {input.dtype}")
    return input.all()


@op("_has_compatible_shallow_copy_type")
def _has_compatible_shallow_copy_type(input: Any, other: Any) -> bool:
    """Whether one tensor's memory can become the other's: both have memory, or neither has."""
    return input.is_meta == other.is_meta
