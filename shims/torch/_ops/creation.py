"""New tensors. Under `torch.device("meta")` those whose values do not matter have shape and dtype only."""

import functools
import math
import mmap
from typing import Any

import torch as real

from .. import _dtypes, _fallback
from .._device import wants_meta
from .._ms import ON_CPU, mint
from .._registry import NAMESPACE
from ._common import MsTensor, capturing, cast, from_numpy, is_tensor, np, op, raw_shape, shape_args, wrap


def _finish(x: Any, requires_grad: bool) -> Any:
    x = wrap(x)
    return x.requires_grad_(True) if requires_grad else x


def _zeros(shape: tuple[int, ...], dtype: _dtypes.dtype) -> Any:
    if dtype is _dtypes.bfloat16:
        return cast(wrap(MsTensor.from_numpy(np.zeros(shape, np.float32))), dtype)
    return MsTensor.from_numpy(np.zeros(shape, dtype.np)) if ON_CPU else mint.zeros(shape, dtype=dtype.ms)


_nothing: list[Any] = [b""]


def _no_memory(nbytes: int) -> Any:
    """Address space for tensors without values: all share it, it is never written, and so it takes no memory."""
    if len(_nothing[0]) < nbytes:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        _nothing[0] = mmap.mmap(-1, max(nbytes, 1 << 26), flags=flags)
    return _nothing[0]


def meta(shape: tuple[int, ...], dtype: _dtypes.dtype) -> Any:
    """A tensor with shape and dtype but no values. MindSpore takes 2 us for it on numpy's memory, 500 to expand one."""
    count = math.prod(shape)
    if count == 0 or dtype is _dtypes.bool or dtype.is_complex:
        x = wrap(_zeros((), dtype))
        x = wrap(MsTensor.broadcast_to(x, shape)) if shape else x
    elif dtype is _dtypes.bfloat16:
        room = real.frombuffer(_no_memory(count * 2), dtype=real.bfloat16, count=count).reshape(shape or (1,))
        x = wrap(_fallback.from_real(room))
        x = x if shape else wrap(mint.reshape(x, ()))
    else:
        room = np.frombuffer(_no_memory(count * dtype.itemsize), dtype.np, count).reshape(shape)
        x = wrap(MsTensor.from_numpy(room))
    x.__dict__["_meta"] = True
    return x


def filled(
    value: Any, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any
) -> Any:
    """A tensor of `size` full of `value` (None: whatever is in memory)."""
    shape = shape_args(size)
    if any(s < 0 for s in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    d = _dtypes.as_dtype(dtype) if dtype is not None else _dtypes.get_default_dtype()
    if d.ms is None:
        raise TypeError(f"{d} has no counterpart in MindSpore")
    if wants_meta(device):
        x = meta(shape, d)
        return x.requires_grad_(True) if requires_grad else x
    if d is _dtypes.bfloat16:
        x = cast(wrap(from_numpy(np.full(shape, 0 if value is None else value, np.float32))), d)
    elif value is None or value == 0:
        a = np.empty(shape, d.np) if value is None else np.zeros(shape, d.np)
        x = MsTensor.from_numpy(a)
    else:
        x = MsTensor.from_numpy(np.full(shape, value, d.np))
    return _finish(x, requires_grad)


def _sized(name: str, value: Any) -> None:
    def create(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any) -> Any:
        if "size" in ignored:
            size = (ignored["size"],)
        return filled(value, *size, dtype=dtype, device=device, requires_grad=requires_grad)

    def like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any) -> Any:  # noqa: A002
        return filled(
            value,
            tuple(raw_shape(input)),
            dtype=dtype or input.dtype,
            device=_where(input, device),
            requires_grad=requires_grad,
        )

    def new(
        self: Any, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any
    ) -> Any:
        if "size" in ignored:
            size = (ignored["size"],)
        return filled(value, *size, dtype=dtype or self.dtype, device=_where(self, device), requires_grad=requires_grad)

    op(name)(create)
    op(name + "_like")(like)
    op("Tensor.new_" + name)(new)


def _where(like: Any, device: Any) -> Any:
    if device is not None:
        return device
    return "meta" if "_meta" in like.__dict__ else "cpu"


_sized("zeros", 0)
_sized("ones", 1)
_sized("empty", None)


@op("full")
def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any
) -> Any:
    """A tensor full of `fill_value`, of its dtype unless one is given."""
    value = fill_value.item() if is_tensor(fill_value) else fill_value
    return filled(
        value,
        size if isinstance(size, (tuple, list)) else (size,),
        dtype=dtype or _dtypes.result_dtype(value),
        device=device,
        requires_grad=requires_grad,
    )


@op("full_like")
def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any
) -> Any:  # noqa: A002
    """`full` with the shape and dtype of `input`."""
    value = fill_value.item() if is_tensor(fill_value) else fill_value
    return filled(
        value,
        tuple(raw_shape(input)),
        dtype=dtype or input.dtype,
        device=_where(input, device),
        requires_grad=requires_grad,
    )


@op("Tensor.new_full")
def new_full(
    self: Any,
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **ignored: Any,
) -> Any:
    """`full` with the dtype of `self`."""
    value = fill_value.item() if is_tensor(fill_value) else fill_value
    return filled(value, size, dtype=dtype or self.dtype, device=_where(self, device), requires_grad=requires_grad)


@op("empty_strided")
def empty_strided(size: Any, stride: Any, **kwargs: Any) -> Any:
    """An uninitialised tensor; strides are not kept, since nothing but speed depends on them."""
    return filled(None, size, dtype=kwargs.get("dtype"), device=kwargs.get("device"))


def _number(x: Any) -> Any:
    return x.item() if is_tensor(x) or isinstance(x, np.generic) else x


@op("arange", "range_exclusive")
def arange(*args: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any) -> Any:
    """start (0), start + step, ... below end."""
    start, end, step = 0, None, 1
    values = [_number(a) for a in args]
    if len(values) == 1:
        end = values[0]
    elif len(values) == 2:
        start, end = values
    elif values:
        start, end, step = values
    start, end, step = (_number(named.get(k, v)) for k, v in (("start", start), ("end", end), ("step", step)))
    d = _dtypes.as_dtype(dtype) if dtype is not None else None
    if d is None:
        d = _dtypes.get_default_dtype() if any(isinstance(v, float) for v in (start, end, step)) else _dtypes.int64
    if not d.is_floating_point:
        start, end, step = int(start), int(end), int(step)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    n = max(0, math.ceil((end - start) / step))
    a = (
        start + np.arange(n) * step
        if isinstance(start, float) or isinstance(step, float)
        else np.arange(n, dtype=np.int64) * step + start
    )
    if d is _dtypes.bfloat16:
        return cast(wrap(from_numpy(a.astype(np.float32))), d)
    return _finish(from_numpy(np.asarray(a.astype(d.np))), requires_grad)


@op("tensor")
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new tensor with a copy of `data`: a number, nested sequences (tensors inside too), an array or a tensor."""
    return _finish(_from_data(data, dtype, device, copy=True), requires_grad)


@op("as_tensor", "asarray")
def as_tensor(
    data: Any, dtype: Any = None, device: Any = None, *, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """`data` as a tensor, sharing memory with arrays and tensors of the wanted dtype."""
    if is_tensor(data):
        wrapped = data if type(data).__module__.startswith("hf_ascend") else _fallback_alias(data)
        return wrapped if dtype is None else cast(wrapped, _dtypes.as_dtype(dtype))
    return _finish(_from_data(data, dtype, device, copy=False), requires_grad)


def _fallback_alias(x: Any) -> Any:
    """Another object for the same MindSpore tensor, so that the caller's keeps its class."""
    return wrap(mint.reshape(x, x.shape))


def _from_data(data: Any, dtype: Any, device: Any, copy: bool) -> Any:
    d = _dtypes.as_dtype(dtype) if dtype is not None else None
    kind = type(data).__module__.partition(".")[0]
    if is_tensor(data):
        x = wrap(data.detach() if hasattr(data, "detach") else MsTensor.data.__get__(data))
        x = x.clone() if copy else x
    elif kind == "torch" and hasattr(data, "untyped_storage"):
        x = wrap(_fallback.from_real(data.clone() if copy else data))
    elif isinstance(data, (np.ndarray, np.generic)):
        a = np.array(data, copy=copy) if copy else np.asarray(data)
        if a.dtype == np.object_:
            raise TypeError("can't convert np.ndarray of type numpy.object_")
        x = wrap(from_numpy(np.asarray(a)))
    else:
        plain, inferred = _plain(data)
        want = d or inferred
        a = np.asarray(plain, dtype=np.float32 if want is _dtypes.bfloat16 else want.np)
        x = wrap(from_numpy(a))
        return cast(x, want)
    return x if d is None else cast(x, d)


def _plain(data: Any) -> tuple[Any, _dtypes.dtype]:
    """Nested data with every leaf a Python number, and the dtype torch would give it."""
    if isinstance(data, (list, tuple, range)) or (
        hasattr(data, "__len__") and hasattr(data, "__getitem__") and not hasattr(data, "dtype")
    ):
        if not len(data):
            return [], _dtypes.get_default_dtype()
        parts = [_plain(v) for v in data]
        lengths = {len(p) if isinstance(p, list) else None for p, _ in parts}
        if len(lengths) > 1:
            raise ValueError(
                f"expected sequence of length {len(parts[0][0]) if isinstance(parts[0][0], list) else 1} at dim 1 (lengths differ)"  # noqa: E501
            )
        dtype = parts[0][1]
        for _, t in parts[1:]:
            dtype = _dtypes.promote_types(dtype, t)
        return [p for p, _ in parts], dtype
    if hasattr(data, "dtype") and hasattr(data, "tolist"):
        return data.tolist(), _dtypes.as_dtype(data.dtype)
    if isinstance(data, (bool, int, float, complex)):
        return data, _dtypes.result_dtype(data)
    raise TypeError(f"Could not infer dtype of {type(data).__name__}")


@op("from_numpy")
def from_numpy_(ndarray: np.ndarray) -> Any:
    """A tensor on the array's own memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return from_numpy(ndarray)


@op("scalar_tensor")
def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, **ignored: Any) -> Any:
    """A 0-d tensor of the default dtype."""
    return tensor.impls["any"](_number(s), dtype=dtype or _dtypes.get_default_dtype())


@op("Tensor.new_tensor")
def new_tensor(self: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """`tensor(data)` with the dtype of `self`."""
    return tensor.impls["any"](data, dtype=dtype or self.dtype, requires_grad=requires_grad)


@op("linspace")
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **ignored: Any,
) -> Any:
    """`steps` values from start to end, both included."""
    import torch as real

    d = _dtypes.as_dtype(dtype) if dtype is not None else _dtypes.get_default_dtype()
    if isinstance(steps, float):
        raise TypeError("linspace(): argument 'steps' must be int, not float")
    values = real.linspace(_number(start), _number(end), int(steps), dtype=_fallback._TO_REAL[d.name])
    return _finish(_fallback.from_real(values), requires_grad)


@op("eye")
def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **ignored: Any
) -> Any:
    """The identity matrix."""
    d = _dtypes.as_dtype(dtype) if dtype is not None else _dtypes.get_default_dtype()
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {n}" if n < 0 else f"m must be >= 0, got {m}")
    if d is _dtypes.bfloat16:
        return _finish(cast(wrap(from_numpy(np.eye(n, m, dtype=np.float32))), d), requires_grad)
    return _finish(from_numpy(np.eye(n, m, dtype=d.np)), requires_grad)


@op("tril_indices")
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, **ignored: Any) -> Any:
    """Indices of a lower triangle, (2, n) int64."""
    return from_numpy(np.stack(np.tril_indices(row, offset, col)).astype(np.int64))


@op("triu_indices")
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, **ignored: Any) -> Any:
    """Indices of an upper triangle, (2, n) int64."""
    return from_numpy(np.stack(np.triu_indices(row, offset, col)).astype(np.int64))


@op("Tensor.zero_", "zero_")
def zero_(self: Any) -> Any:
    """Set all elements to zero."""
    return fill_.impls["any"](self, 0)


@op("Tensor.fill_", "fill_")
def fill_(self: Any, value: Any) -> Any:
    """Set all elements to `value`."""
    from .._inplace import assign, records, write

    if is_tensor(value):
        return assign(self, value.expand(self.shape), adopt=False)
    if capturing() or records(self) or self.dtype is _dtypes.bfloat16:
        return assign(self, filled(value, tuple(raw_shape(self)), dtype=self.dtype))
    write(self, value)
    return self


@op("Tensor.copy_")
def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Overwrite with the values of `src`, converted and broadcast."""
    from .._inplace import assign, is_meta

    if is_meta(self) or (is_tensor(src) and is_meta(src)):
        return self
    src = src if is_tensor(src) and hasattr(src, "expand") else as_tensor.impls["any"](src)
    return assign(self, src, adopt=False)


def _placed(name: str) -> None:
    """Under `torch.device("meta")` the function's result has shape and dtype only, as that of `zeros` and its kin."""
    make = NAMESPACE[name]

    @functools.wraps(make)
    def call(*args: Any, **kwargs: Any) -> Any:
        x = make(*args, **kwargs)
        return meta(tuple(raw_shape(x)), x.dtype) if wants_meta(kwargs.get("device")) else x

    NAMESPACE[name] = call


for _name in (
    "tensor",
    "as_tensor",
    "asarray",
    "scalar_tensor",
    "arange",
    "linspace",
    "eye",
    "tril_indices",
    "triu_indices",
):
    _placed(_name)
