"""torch.dtype over MindSpore's types.

A dtype here *is* a MindSpore type (a subclass instance, equal to and hashed as the original), so that
MindSpore's own functions take it, and prints and behaves as torch's. It also equals torch's own dtype
of the same name, which shared configs hold.
"""

import builtins
from typing import Any

import numpy as np
import torch as real
from mindspore._c_expression import typing as mt

from ._ms import ms


class dtype:
    """Base of all dtypes; `isinstance(x, torch.dtype)` holds for exactly these."""

    name: str
    itemsize: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool
    ms: Any
    np: Any
    """The numpy dtype of the same memory; bfloat16, which numpy lacks, is seen as uint16."""

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return (_by_name, (self.name,))

    def to_complex(self) -> "dtype":
        return complex128 if self is float64 else complex64

    def to_real(self) -> "dtype":
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, mt.Type):
            return self._ms_eq(other)  # type: ignore[attr-defined]
        return type(other).__module__ == "torch" and str(other) == str(self)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __copy__(self) -> "dtype":
        return self

    def __deepcopy__(self, memo: Any) -> "dtype":
        return self


def _make(name: str, base: type, args: tuple, ms_type: Any, np_name: str) -> dtype:
    def init(self: Any) -> None:
        base.__init__(self, *args)

    cls = type(
        "dtype",
        (dtype, base),
        {
            "__init__": init, "__hash__": base.__hash__, "_ms_eq": base.__eq__, "__module__": __name__,
            "name": name, "ms": ms_type, "np": np.dtype(np_name), "itemsize": np.dtype(np_name).itemsize,
            "is_floating_point": base in (mt.Float, mt.BFloat), "is_complex": base is mt.Complex,
            "is_signed": name not in ("bool", "uint8", "uint16", "uint32", "uint64"),
        },
    )  # fmt: skip
    return cls()


float16 = half = _make("float16", mt.Float, (16,), ms.float16, "float16")
float32 = float = _make("float32", mt.Float, (32,), ms.float32, "float32")
float64 = double = _make("float64", mt.Float, (64,), ms.float64, "float64")
bfloat16 = _make("bfloat16", mt.BFloat, (16,), ms.bfloat16, "uint16")
int8 = _make("int8", mt.Int, (8,), ms.int8, "int8")
int16 = short = _make("int16", mt.Int, (16,), ms.int16, "int16")
int32 = int = _make("int32", mt.Int, (32,), ms.int32, "int32")
int64 = long = _make("int64", mt.Int, (64,), ms.int64, "int64")
uint8 = _make("uint8", mt.UInt, (8,), ms.uint8, "uint8")
uint16 = _make("uint16", mt.UInt, (16,), ms.uint16, "uint16")
uint32 = _make("uint32", mt.UInt, (32,), ms.uint32, "uint32")
uint64 = _make("uint64", mt.UInt, (64,), ms.uint64, "uint64")
bool = _make("bool", mt.Bool, (), ms.bool_, "bool")
complex64 = cfloat = _make("complex64", mt.Complex, (64,), ms.complex64, "complex64")
complex128 = cdouble = _make("complex128", mt.Complex, (128,), ms.complex128, "complex128")

ALL = (
    float16, float32, float64, bfloat16, int8, int16, int32, int64,
    uint8, uint16, uint32, uint64, bool, complex64, complex128,
)  # fmt: skip
_NAMES = {t.name: t for t in ALL}
BY_MS: dict[Any, dtype] = {t.ms: t for t in ALL}
BY_ID: dict[int, dtype] = {id(t.ms): t for t in ALL if t.ms is not None}
"""By the identity of MindSpore's type, which costs a quarter of its hash. The types live as long as this module."""
_BY_PY = {"float": float32, "int": int64, "bool": bool, "complex": complex64}


class _Absent(dtype):
    """A dtype MindSpore does not have; upstream compares with it, nothing can be made of it."""

    def __init__(self, name: str, itemsize: Any, is_float: Any):
        self.name, self.itemsize, self.is_floating_point = name, itemsize, is_float
        self.is_complex, self.is_signed, self.ms, self.np = False, True, None, None

    def __hash__(self) -> Any:
        return hash(self.name)

    def _ms_eq(self, other: object) -> Any:
        return False


ABSENT = {
    n: _Absent(n, 1, True)
    for n in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2")  # noqa: E501
} | {n: _Absent(n, 1, False) for n in ("qint8", "quint8", "qint32", "quint4x2", "int4", "uint4", "int1", "int2", "uint1", "uint2", "uint3", "uint5", "uint6", "uint7")}  # fmt: skip  # noqa: E501


def _by_name(name: str) -> dtype:
    return _NAMES.get(name) or ABSENT[name]


def as_dtype(value: Any) -> dtype:
    """The dtype meant by one of ours, torch's own, MindSpore's, numpy's, Python's or a name.

    Raises TypeError for anything else.
    """
    if isinstance(value, dtype):
        return value
    if isinstance(value, mt.Type) and value in BY_MS:
        return BY_MS[value]
    if isinstance(value, type) and value.__name__ in _BY_PY:
        return _BY_PY[value.__name__]
    name = str(value).removeprefix("torch.") if not isinstance(value, np.dtype) else value.name
    if name in _NAMES or name in ABSENT:
        return _by_name(name)
    try:
        return _NAMES[np.dtype(value).name]
    except (TypeError, KeyError):
        raise TypeError(f"{value!r} is not a dtype; known are {', '.join(_NAMES)}") from None


class _TypeInfo:
    def __init__(self, t: dtype, info: Any):
        self.dtype, self.bits = t.name, builtins.int(info.bits)
        for key in ("min", "max", "eps", "tiny", "smallest_normal", "resolution"):
            if hasattr(info, key):
                setattr(self, key, _py(getattr(info, key)))


def _py(x: Any) -> Any:
    return x.item() if hasattr(x, "item") else x


class finfo(_TypeInfo):
    """Limits of a floating dtype, as `torch.finfo`."""

    def __init__(self, t: Any = None):
        t = as_dtype(t if t is not None else get_default_dtype())
        if not (t.is_floating_point or t.is_complex):
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{t}'")
        super().__init__(t, real.finfo(getattr(real, t.name)))

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution}, min={self.min}, max={self.max}, eps={self.eps}, dtype={self.dtype})"
        )


class iinfo(_TypeInfo):
    """Limits of an integer dtype, as `torch.iinfo`."""

    def __init__(self, t: Any):
        t = as_dtype(t)
        if t.is_floating_point or t.is_complex or t is bool:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{t}'")
        super().__init__(t, np.iinfo(t.np))

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


_default = float32


def get_default_dtype() -> dtype:
    """The dtype of new floating tensors."""
    return _default


def set_default_dtype(d: Any) -> None:
    """Set the dtype of new floating tensors; raises TypeError for one that is not floating."""
    global _default
    d = as_dtype(d)
    if not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


def _category(t: dtype) -> Any:
    return 3 if t.is_complex else 2 if t.is_floating_point else 0 if t is bool else 1


_FLOAT_ORDER = {"float16": 1, "bfloat16": 1, "float32": 2, "float64": 3, "complex64": 4, "complex128": 5}


def promote_types(a: Any, b: Any) -> dtype:
    """torch's promotion of two dtypes (https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc)."""
    a, b = as_dtype(a), as_dtype(b)
    if a is b:
        return a
    ca, cb = _category(a), _category(b)
    if ca < 2 and cb < 2:
        if ca == 0 or cb == 0:
            return b if ca == 0 else a
        r = np.promote_types(a.np, b.np)
        return _NAMES[r.name]
    if ca != cb and min(ca, cb) < 2:
        return a if ca > cb else b
    if ca == 3 or cb == 3:
        return complex128 if "complex128" in (a.name, b.name) or "float64" in (a.name, b.name) else complex64
    oa, ob = _FLOAT_ORDER[a.name], _FLOAT_ORDER[b.name]
    return float32 if oa == ob else (a if oa > ob else b)


def _scalar_dtype(x: Any) -> dtype:
    import builtins

    if isinstance(x, (builtins.bool, np.bool_)):
        return bool
    if isinstance(x, (builtins.int, np.integer)):
        return int64
    if isinstance(x, (builtins.float, np.floating)):
        return _default
    return complex64


def result_dtype(*values: Any) -> dtype:
    """torch's result type of tensors and Python scalars: dimensioned tensors outrank 0-d ones, those scalars."""
    best: list[dtype | None] = [None, None, None]
    for v in values:
        shape = getattr(v, "shape", None)
        level, t = (
            (2, _scalar_dtype(v))
            if shape is None or isinstance(v, np.generic)
            else (0 if len(shape) else 1, as_dtype(v.dtype))
        )
        have = best[level]
        best[level] = t if have is None else promote_types(have, t)
    result = best[0]
    for lower in best[1:]:
        if lower is not None and (result is None or _category(lower) > _category(result)):
            if result is not None and _category(lower) == 2 and _category(result) < 2:
                result = lower if lower is not None else _default
            else:
                result = lower if result is None else promote_types(result, lower)
    assert result is not None
    return result
