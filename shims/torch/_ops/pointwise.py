"""Operators that work element by element, with torch's broadcasting and type promotion."""

from collections.abc import Callable
from typing import Any

import torch as real

from .. import _dtypes
from .._fallback import compute
from .._ms import MsFunction, TensorPy, gen, mint
from .._nodes import large
from . import complexes
from ._common import (
    ON_CPU,
    QUIET,
    MsTensor,
    capturing,
    cast,
    from_numpy,
    host,
    host_pair,
    is_tensor,
    memory,
    ms,
    np,
    op,
    ops,
    raw_dtype,
    records,
    wrap,
)

_LARGE = 1 << 18
"""From this many elements on, MindSpore's threads beat numpy's single one."""


def _np_out(a: np.ndarray | np.generic) -> Any:
    return from_numpy(np.asarray(a))


def _as(dtype: Any, a: np.ndarray | np.generic) -> np.ndarray:
    """numpy computes 0-d arrays with Python numbers in float64; torch keeps the tensor's dtype."""
    return np.asarray(a).astype(dtype, copy=False)


def _quiet(fn: Callable, *arrays: np.ndarray) -> Any:
    """`fn` without warnings about overflow, division by zero and the like, which torch does not give."""
    if isinstance(fn, np.ufunc):
        return fn(*arrays, extobj=QUIET)
    with np.errstate(all="ignore"):
        return fn(*arrays)


def _unary(name: str, ms_fn: Callable, np_fn: Callable | None, *more: str, floats: bool = True) -> None:
    """Register a unary operator; `floats` says that integers become floating, as for transcendental functions."""

    def impl(input: Any) -> Any:
        if floats and not input.dtype.is_floating_point and not input.dtype.is_complex:
            input = cast(input, _dtypes.get_default_dtype())
        if np_fn is not None and host(input) and input.numel() < _LARGE:
            return _np_out(_quiet(np_fn, memory(input)))
        return ms_fn(input)

    impl.__name__ = name
    impl.__doc__ = f"torch.{name}, element by element."
    op(name, *more)(impl)


def _np_sigmoid(x: np.ndarray) -> np.ndarray:
    return _as(x.dtype, 1 / (1 + np.exp(-x)))


class _HostNode(MsFunction):
    """A numpy function as one node of the graph; `slope(grad, x, y)` is its gradient, in operators."""

    @staticmethod
    def forward(ctx: Any, np_fn: Callable, slope: Callable, x: Any) -> Any:
        y = wrap(_np_out(_quiet(np_fn, memory(x))))
        ctx.save_for_backward(x, y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        return None, None, ctx.slope(wrap(grad), wrap(x), wrap(y))


def _tanh(x: Any) -> Any:
    """MindSpore's CPU tanh leaves [-1, 1] by 1e-5 around 5, which turns the sign of the gradient."""
    if not ON_CPU or raw_dtype(x) is ms.bfloat16:
        return ops.tanh(x)
    if capturing():
        return ops.where(mint.lt(ops.abs(x), 2), ops.tanh(x), 2 * ops.sigmoid(2 * x) - 1)
    return _HostNode.apply(np.tanh, lambda g, x, y: g * (1 - y * y), x)


for _name, _ms_fn, _np_fn, *_more in (
    ("exp", ops.exp, np.exp), ("log", ops.log, np.log), ("sqrt", mint.sqrt, np.sqrt), ("sin", ops.sin, np.sin),
    ("cos", ops.cos, np.cos), ("tan", ops.tan, np.tan), ("tanh", _tanh, np.tanh), ("erf", ops.erf, None, "special.erf"),
    ("erfc", ops.erfc, None), ("log1p", ops.log1p, np.log1p), ("expm1", ops.expm1, np.expm1),
    ("acos", ops.acos, np.arccos, "arccos"), ("asin", ops.asin, np.arcsin, "arcsin"),
    ("atan", ops.atan, np.arctan, "arctan"),
    ("sinh", ops.sinh, np.sinh), ("cosh", ops.cosh, np.cosh), ("log2", ops.log2, np.log2),
    ("exp2", lambda x: cast(ops.exp2(x), x.dtype), np.exp2),
    ("sigmoid", ops.sigmoid, _np_sigmoid, "special.expit"),
    ("reciprocal", ops.reciprocal, np.reciprocal),
):  # fmt: skip
    _unary(_name, _ms_fn, _np_fn, *_more)


@op("rsqrt")
def rsqrt(input: Any) -> Any:
    """1 / sqrt(input). MindSpore's own kernel is slow on large CPU tensors; sqrt and a division are not."""
    if not input.dtype.is_floating_point:
        input = cast(input, _dtypes.get_default_dtype())
    if host(input):
        return _np_out(_quiet(np.reciprocal, _quiet(np.sqrt, memory(input))))
    return mint.rsqrt(input)


def _abs(x: Any) -> Any:
    return complexes.magnitude(x) if ON_CPU and x.dtype.is_complex else ops.abs(x)


def _keep_int(ms_fn: Callable) -> Callable:
    """Rounding leaves integers as they are."""
    return lambda x: x if not x.dtype.is_floating_point else ms_fn(x)


for _name, _ms_fn, _np_fn, *_more in (
    ("neg", ops.neg, np.negative, "negative", "Tensor.__neg__"), ("abs", _abs, np.abs, "absolute", "Tensor.__abs__"),
    ("sign", mint.sign, np.sign), ("floor", _keep_int(ops.floor), None),
    ("ceil", _keep_int(ops.ceil), None), ("trunc", _keep_int(ops.trunc), None, "fix"),
):  # fmt: skip
    _unary(_name, _ms_fn, _np_fn, *_more, floats=False)


@op("square")
def square(input: Any) -> Any:
    """input * input; bool becomes int64."""
    x = cast(input, _dtypes.int64) if raw_dtype(input) is ms.bool_ else input
    return _mul(x, x)


@op("round")
def round(input: Any, *, decimals: int = 0) -> Any:
    """Half to even, as torch; gradient zero."""
    if not input.dtype.is_floating_point:
        return input
    if host(input):
        return _np_out(np.round(memory(input), decimals))
    if ON_CPU and raw_dtype(input) is ms.bfloat16:
        raise NotImplementedError("MindSpore's CPU rounds no bfloat16")
    return mint.round(input) if decimals == 0 else mint.round(input * 10**decimals) / 10**decimals


for _name, _ms_fn, _np_fn in (
    ("isnan", ops.isnan, np.isnan),
    ("isinf", ops.isinf, np.isinf),
    ("isfinite", ops.isfinite, np.isfinite),
):

    def _test(input: Any, _ms_fn: Callable = _ms_fn, _np_fn: Callable = _np_fn) -> Any:
        return _np_out(_np_fn(memory(input))) if host(input.detach()) else _ms_fn(input)

    op(_name)(_test)


# ---- binary
def _pair(a: Any, b: Any, dtype: _dtypes.dtype | None = None) -> tuple[Any, Any, _dtypes.dtype]:
    """Both operands as tensors of their common type (or `dtype`). numpy scalars and numbers are operands too."""
    if is_tensor(a) and is_tensor(b) and raw_dtype(a) is raw_dtype(b) and dtype is None:
        return a, b, a.dtype
    if not (is_tensor(a) or is_tensor(b)):
        raise TypeError(f"expected a Tensor, got {type(a).__name__} and {type(b).__name__}")
    for x in (a, b):
        if not is_tensor(x) and not isinstance(x, (int, float, bool, complex, np.generic)):
            raise TypeError(f"unsupported operand type: {type(x).__name__}")
    dtype = dtype or _dtypes.result_dtype(a, b)
    return _operand(a, dtype), _operand(b, dtype), dtype


def _operand(x: Any, dtype: _dtypes.dtype) -> Any:
    if is_tensor(x):
        return cast(x, dtype)
    if dtype is _dtypes.bfloat16:
        return cast(wrap(MsTensor.from_numpy(np.asarray(x, np.float32))), dtype)
    with np.errstate(all="ignore"):
        return wrap(MsTensor.from_numpy(np.asarray(x).astype(dtype.np)))


_PLAIN = frozenset(id(t) for t in (ms.float32, ms.float16, ms.float64, ms.int64, ms.int32))
"""Types of tensors that need nothing but to be the same; by identity, since hashing one costs more than the rest."""


def _alike(a: Any, b: Any) -> bool:
    """Whether both are tensors, of one type, which is plain."""
    if isinstance(a, TensorPy) and isinstance(b, TensorPy):
        kind = raw_dtype(a)
        return kind is raw_dtype(b) and id(kind) in _PLAIN
    return False


def _binary(ms_fn: Callable, np_fn: Callable, a: Any, b: Any, dtype: _dtypes.dtype | None = None) -> Any:
    if dtype is None and _alike(a, b):
        return _np_out(_quiet(np_fn, memory(a), memory(b))) if host_pair(a, b) else ms_fn(a, b)
    return _binary_of_any(ms_fn, np_fn, a, b, dtype)


_PYTORCHS = {np.add: real.add, np.subtract: real.sub, np.multiply: real.mul} if ON_CPU else {}


def _binary_of_any(ms_fn: Callable, np_fn: Callable, a: Any, b: Any, dtype: _dtypes.dtype | None) -> Any:
    a, b, dtype = _pair(a, b, dtype)
    if host(a, b):
        return _np_out(_quiet(np_fn, memory(a), memory(b)))
    theirs = _PYTORCHS.get(np_fn)
    if theirs is not None and records(a, b) and (large(a) or large(b)):
        return compute(theirs, a, b)
    if dtype.is_complex and ON_CPU:
        found = complexes.binary(np_fn, a, b)
        if found is not None:
            return found
    return ms_fn(a, b)


def _reflected(fn: Callable) -> Callable:
    return lambda self, other: fn(other, self)


def _operator(name: str, fn: Any, reflected: bool = True) -> None:
    """Python's operator methods: unknown operands give NotImplemented, so that the other side may answer."""

    def method(self: Any, other: Any) -> Any:
        if not (is_tensor(other) or isinstance(other, (int, float, bool, complex, np.generic))):
            if not hasattr(other, "__array__"):
                return NotImplemented
            other = _foreign(other)
        return wrap(fn(self, other))

    op(f"Tensor.__{name}__")(method)
    if reflected:
        op(f"Tensor.__r{name}__")(lambda self, other: method_reflected(fn, self, other))


def method_reflected(fn: Callable, self: Any, other: Any) -> Any:
    """`other OP self` for an `other` that is not a tensor."""
    if not isinstance(other, (int, float, bool, complex, np.generic)) and not is_tensor(other):
        if not hasattr(other, "__array__"):
            return NotImplemented  # [0] * tensor(3) repeats the list
        other = _foreign(other)
    return wrap(fn(other, self))


def _foreign(x: Any) -> Any:
    from .. import as_tensor

    return as_tensor(x)


def _in_place_operator(name: str, fn: Callable) -> None:
    from .._inplace import assign, at_once, operand

    named = {"truediv": "div_"}.get(name, f"{name}_")

    def method(self: Any, other: Any) -> Any:
        return self if at_once(named, self, (other,), {}) else assign(self, wrap(fn(operand(self, other), other)))

    op(f"Tensor.__i{name}__")(method)


def _both_bool(a: Any, b: Any) -> bool:
    return is_tensor(a) and raw_dtype(a) is ms.bool_ and is_tensor(b) and raw_dtype(b) is ms.bool_


def _add(a: Any, b: Any) -> Any:
    # Two tensors of one type first, and by few questions: each costs as much as the rest of the way to MindSpore.
    # The primitive costs a third less than mint's function of torch's signature.
    if ON_CPU and _alike(a, b):
        if host_pair(a, b):
            return _np_out(np.add(memory(a), memory(b), extobj=QUIET))
        return compute(real.add, a, b) if large(a) else gen.add_op(a, b)
    if _both_bool(a, b):
        return _binary_of_any(ops.logical_or, np.logical_or, a, b, None)
    return _binary_of_any(mint.add, np.add, a, b, None)


@op("add")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha * other."""
    return _add(input, other if alpha == 1 else wrap(mul(other, alpha)))


def _sub(a: Any, b: Any) -> Any:
    if ON_CPU and _alike(a, b):
        if host_pair(a, b):
            return _np_out(np.subtract(memory(a), memory(b), extobj=QUIET))
        return compute(real.sub, a, b) if large(a) else gen.sub_op(a, b)
    if any(is_tensor(x) and raw_dtype(x) is ms.bool_ for x in (a, b)) and all(
        is_tensor(x) and raw_dtype(x) is ms.bool_ or isinstance(x, bool) for x in (a, b)
    ):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` operator."
        )
    return _binary_of_any(mint.sub, np.subtract, a, b, None)


@op("sub", "subtract")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha * other."""
    return _sub(input, other if alpha == 1 else wrap(mul(other, alpha)))


@op("rsub")
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other - alpha * input."""
    return _sub(other, input if alpha == 1 else wrap(mul(input, alpha)))


def _mul(a: Any, b: Any) -> Any:
    if ON_CPU and _alike(a, b):
        if host_pair(a, b):
            return _np_out(np.multiply(memory(a), memory(b), extobj=QUIET))
        return compute(real.mul, a, b) if large(a) else gen.mul_op(a, b)
    if _both_bool(a, b):
        return _binary_of_any(ops.logical_and, np.logical_and, a, b, None)
    return _binary_of_any(mint.mul, np.multiply, a, b, None)


@op("mul", "multiply")
def mul(input: Any, other: Any) -> Any:
    """input * other."""
    if not is_tensor(input) and not is_tensor(other):
        return input * other
    return _mul(input, other)


def _float_of(a: Any, b: Any) -> _dtypes.dtype:
    d = _dtypes.result_dtype(a, b)
    return d if d.is_floating_point or d.is_complex else _dtypes.get_default_dtype()


def _div(a: Any, b: Any) -> Any:
    return _binary(mint.div, np.true_divide, a, b, _float_of(a, b))


@op("div", "divide", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """True division, or rounded towards zero ("trunc") or down ("floor")."""
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return _floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    d = _dtypes.result_dtype(input, other)
    if d.is_floating_point:
        return ops.trunc(wrap(_div(input, other)))
    if not is_tensor(input) and not is_tensor(other):
        input = _operand(input, d)
    a, b, d = _pair(input, other)
    if not host(a, b):
        return ops.div(a, b, rounding_mode="trunc")
    if (memory(b) == 0).any():
        raise RuntimeError("ZeroDivisionError")
    q = np.abs(memory(a)) // np.abs(memory(b))
    return _np_out((q * np.sign(memory(a)) * np.sign(memory(b))).astype(d.np))


def _np_floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if np.asarray(b).dtype.kind in "iu" and np.any(b == 0):
        raise RuntimeError("ZeroDivisionError")
    return np.floor_divide(a, b)


def _floor_divide(a: Any, b: Any) -> Any:
    return _binary(mint.floor_divide, _np_floor_divide, a, b)


@op("floor_divide")
def floor_divide(input: Any, other: Any) -> Any:
    """Division rounded down."""
    return _floor_divide(input, other)


def _remainder(a: Any, b: Any) -> Any:
    return _binary(mint.remainder, np.mod, a, b)


@op("remainder")
def remainder(input: Any, other: Any) -> Any:
    """The remainder with the divisor's sign."""
    return _remainder(input, other)


@op("fmod")
def fmod(input: Any, other: Any) -> Any:
    """The remainder with the dividend's sign."""
    if not is_tensor(input):
        raise TypeError(f"fmod(): argument 'input' must be Tensor, not {type(input).__name__}")
    if ON_CPU and raw_dtype(input) is ms.bfloat16:
        raise NotImplementedError("MindSpore's fmod of bfloat16 is inexact")
    return _binary(mint.fmod, np.fmod, input, other)


def _pow(a: Any, b: Any) -> Any:
    if is_tensor(a) and not is_tensor(b):
        if b == 2:
            return _mul(a, a)
        if b == 1:
            return _mul(a, 1)
        if b == 0.5 and a.dtype.is_floating_point:
            return mint.sqrt(a) if not host(a) else _np_out(np.sqrt(memory(a)))
        if b == -0.5 and a.dtype.is_floating_point:
            return rsqrt.impls["any"](a)
        if b == 3 and a.dtype.is_floating_point:
            return _mul(wrap(_mul(a, a)), a)
    return _binary(mint.pow, np.power, a, b)


@op("pow")
def pow(input: Any, exponent: Any) -> Any:
    """input ** exponent; a product for small whole exponents, which is exact and fast."""
    return _pow(input, exponent)


for _name, _fn in (
    ("add", _add),
    ("sub", _sub),
    ("mul", _mul),
    ("truediv", _div),
    ("floordiv", _floor_divide),
    ("mod", _remainder),
    ("pow", _pow),
):
    _operator(_name, _fn)
    _in_place_operator(_name, _fn)


def _both_tensors(name: str, input: Any, other: Any) -> None:
    if not (is_tensor(input) and is_tensor(other)):
        raise TypeError(f"{name}(): arguments must be Tensors, not {type(input).__name__}, {type(other).__name__}")


@op("maximum")
def maximum(input: Any, other: Any) -> Any:
    """The larger of two, NaN if one is."""
    _both_tensors("maximum", input, other)
    return _binary(ops.maximum, np.maximum, input, other)


@op("minimum")
def minimum(input: Any, other: Any) -> Any:
    """The smaller of two, NaN if one is."""
    _both_tensors("minimum", input, other)
    return _binary(ops.minimum, np.minimum, input, other)


@op("atan2", "arctan2")
def atan2(input: Any, other: Any) -> Any:
    """The angle of (other, input)."""
    return _binary(ops.atan2, np.arctan2, input, other, _float_of(input, other))


# ---- comparison and logic
def _compare(name: str, sign: str, ms_fn: Callable, np_fn: Callable, *more: str) -> None:
    def impl(input: Any, other: Any) -> Any:
        if not is_tensor(input):
            raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")
        a, b, _ = _pair(input, other)
        a, b = (x.detach() if x._requires_grad else x for x in (a, b))
        return _np_out(np_fn(memory(a), memory(b))) if host(a, b) else ms_fn(a, b)

    op(name, *more)(impl)

    def method(self: Any, other: Any) -> Any:
        if not (is_tensor(other) or isinstance(other, (int, float, bool, complex, np.generic))):
            if not hasattr(other, "__array__"):
                return NotImplemented
            other = _foreign(other)
        return wrap(impl(self, other))

    op(f"Tensor.__{sign}__")(method)


for _name, _sign, _ms_fn, _np_fn, *_more in (
    ("eq", "eq", mint.eq, np.equal), ("ne", "ne", mint.ne, np.not_equal, "not_equal"),
    ("lt", "lt", mint.lt, np.less, "less"),
    ("le", "le", mint.le, np.less_equal, "less_equal"), ("gt", "gt", mint.gt, np.greater, "greater"),
    ("ge", "ge", mint.ge, np.greater_equal, "greater_equal"),
):  # fmt: skip
    _compare(_name, _sign, _ms_fn, _np_fn, *_more)


def _truth(x: Any) -> Any:
    return x if raw_dtype(x) is ms.bool_ else cast(x.detach(), _dtypes.bool)


for _name, _ms_fn, _np_fn in (
    ("logical_and", ops.logical_and, np.logical_and), ("logical_or", ops.logical_or, np.logical_or),
    ("logical_xor", ops.logical_xor, np.logical_xor),
):  # fmt: skip

    def _logical(input: Any, other: Any, _ms_fn: Callable = _ms_fn, _np_fn: Callable = _np_fn) -> Any:
        a, b = _truth(input), _truth(other)
        return _np_out(_np_fn(memory(a), memory(b))) if host(a, b) else _ms_fn(a, b)

    op(_name)(_logical)


@op("logical_not")
def logical_not(input: Any) -> Any:
    """True where the input is zero."""
    x = _truth(input)
    return _np_out(~memory(x)) if host(x) else ops.logical_not(x)


def _bitwise(bool_fn: Callable, ms_fn: Callable, np_fn: Callable) -> Callable:
    def impl(input: Any, other: Any) -> Any:
        a, b, dtype = _pair(input, other)
        if dtype.is_floating_point:
            raise RuntimeError(f"bitwise operators are not implemented for {dtype}")
        if host(a, b):
            return _np_out(np_fn(memory(a), memory(b)))
        return (bool_fn if dtype is _dtypes.bool else ms_fn)(a, b)

    return impl


for _name, _sign, _bool_fn, _ms_fn, _np_fn in (
    ("bitwise_and", "and", ops.logical_and, ops.bitwise_and, np.bitwise_and),
    ("bitwise_or", "or", ops.logical_or, ops.bitwise_or, np.bitwise_or),
    ("bitwise_xor", "xor", ops.logical_xor, ops.bitwise_xor, np.bitwise_xor),
):
    _fn = _bitwise(_bool_fn, _ms_fn, _np_fn)
    op(_name)(_fn)
    _operator(_sign, _fn)
    _in_place_operator(_sign, _fn)


@op("bitwise_not", "Tensor.__invert__")
def bitwise_not(input: Any) -> Any:
    """~input; logical for bool."""
    if host(input):
        return _np_out(~memory(input))
    return ops.logical_not(input) if raw_dtype(input) is ms.bool_ else -1 - input


# ---- choice
@op("where")
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; with a condition alone, the indices where it holds."""
    from .indexing import nonzero

    if input is None and other is None:
        return nonzero.impls["any"](condition, as_tuple=True)
    if not is_tensor(input) and not is_tensor(other):
        dtype = _dtypes.result_dtype(input, other)
        a, b = _operand(input, dtype), _operand(other, dtype)
    else:
        a, b, dtype = _pair(input, other)
    condition = _truth(condition)
    if host(a, b):
        return _np_out(np.where(memory(condition), memory(a), memory(b)))
    return ops.where(condition, a, b)


@op("Tensor.where")
def tensor_where(self: Any, condition: Any, other: Any) -> Any:
    """`self` where the condition holds, else `other`."""
    return where.impls["any"](condition, self, other)


@op("masked_fill")
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`value` where the mask holds."""
    if is_tensor(value) and len(value.shape):
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{len(value.shape)} dimension(s)."
        )
    if (value.dtype.is_complex if is_tensor(value) else isinstance(value, complex)) and not input.dtype.is_complex:
        raise RuntimeError(f"value cannot be converted to {input.dtype} without overflow")
    value = cast(value, input.dtype) if is_tensor(value) else _operand(value, input.dtype)
    mask = _truth(mask)
    if host(input, value):
        return _np_out(np.where(memory(mask), memory(value), memory(input)))
    return ops.where(mask, value, input)


@op("clamp", "clip")
def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Limited to [min, max]; bounds are numbers or tensors."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    bounds = [b for b in (min, max) if b is not None]
    dtype = _dtypes.result_dtype(input, *bounds)
    x = cast(input, dtype)
    lo = None if min is None else _operand(min, dtype)
    hi = None if max is None else _operand(max, dtype)
    if host(x, *(b for b in (lo, hi) if b is not None)):
        return _np_out(np.clip(memory(x), None if lo is None else memory(lo), None if hi is None else memory(hi)))
    if lo is not None:
        x = ops.where(mint.lt(x.detach(), lo.detach()), lo, x)
    if hi is not None:
        x = ops.where(mint.gt(wrap(x).detach(), hi.detach()), hi, x)
    return x


@op("clamp_min")
def clamp_min(input: Any, min: Any) -> Any:
    """At least `min`."""
    return clamp.impls["any"](input, min)


@op("clamp_max")
def clamp_max(input: Any, max: Any) -> Any:
    """At most `max`."""
    return clamp.impls["any"](input, None, max)


@op("addcmul")
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 * tensor2."""
    return input + tensor1 * tensor2 * value


@op("addcdiv")
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 / tensor2."""
    return input + tensor1 / tensor2 * value


@op("lerp")
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight * (end - input)."""
    return input + (end - input) * weight


@op("_cast")
def _cast_op(input: Any, dtype: Any) -> Any:
    return cast(input, _dtypes.as_dtype(dtype))


for _name, _dtype in (
    ("float", _dtypes.float32), ("double", _dtypes.float64), ("half", _dtypes.float16), ("bfloat16", _dtypes.bfloat16),
    ("long", _dtypes.int64), ("int", _dtypes.int32), ("short", _dtypes.int16), ("char", _dtypes.int8),
    ("byte", _dtypes.uint8), ("bool", _dtypes.bool), ("cfloat", _dtypes.complex64),
):  # fmt: skip
    op(f"Tensor.{_name}")(lambda self, _dtype=_dtype, memory_format=None: cast(self, _dtype))
