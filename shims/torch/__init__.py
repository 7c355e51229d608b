"""The torch API over MindSpore.

`_ms`          starts MindSpore; `_dtypes`, `_device`, `_size`: torch's value types over MindSpore's
`_tensor`      torch.Tensor, a subclass of mindspore.Tensor; `_inplace`: views and in-place writes
`_registry`    one decorator gives an operator its names and an implementation per device
`_ops`         the operators; `_fallback`: PyTorch's CPU operator for what is not there
`_autocast`    mixed precision
`_autograd`    gradients; `nn`, `optim`, `utils`, ...: upstream's own code where it can run (retarget/rules.py)

Why not upstream's: torch/__init__.py loads PyTorch's C++ core. Real torch stays untouched beside this.
"""

import builtins as _builtins
import contextlib as _contextlib
import functools as _functools
import math as _math
from typing import Any as _Any

import torch as _real

from . import _dtypes, _fallback, _inplace, _ms, _registry, _tensor
from ._device import HOME as _HOME
from ._device import device, get_default_device, set_default_device
from ._dtypes import *  # noqa: F403
from ._dtypes import ABSENT as _ABSENT
from ._dtypes import ALL as _ALL
from ._dtypes import dtype, finfo, get_default_dtype, iinfo, promote_types, set_default_dtype
from ._size import Size
from ._tensor import Parameter as _Parameter
from ._tensor import Tensor

del real  # noqa: F821  (the star brings _dtypes' own imports; this one hides torch.real)
for _d in _ALL:
    globals()[_d.name] = _d
half, float, double, short, int, long = (
    getattr(_dtypes, _n) for _n in ("half", "float", "double", "short", "int", "long")
)
cfloat, cdouble, chalf = _dtypes.complex64, _dtypes.complex128, _dtypes.complex64
complex32 = _dtypes.complex64
bool = _dtypes.bool
globals().update(_ABSENT)

__version__ = _real.__version__
inf, nan, pi, e, newaxis = _math.inf, _math.nan, _math.pi, _math.e, None

from . import _grad_mode, _ops  # noqa: E402
from ._grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # noqa: E402
from ._ops.random import Generator, default_generator  # noqa: E402


class _Named:
    """torch's layouts and memory formats: names to compare."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> _Any:
        return self._name


class layout(_Named):
    """torch.layout."""


class memory_format(_Named):
    """torch.memory_format."""


class qscheme(_Named):
    """torch.qscheme."""


strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged = (
    layout(_n) for _n in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged")
)
contiguous_format, channels_last, channels_last_3d, preserve_format, legacy_contiguous_format = (
    memory_format(_n)
    for _n in ("contiguous_format", "channels_last", "channels_last_3d", "preserve_format", "legacy_contiguous_format")
)
per_tensor_affine = qscheme("per_tensor_affine")


def manual_seed(seed: _builtins.int) -> Generator:
    """Seed random numbers, MindSpore's too; returns the default generator."""
    _ms.ms.set_seed(seed % 2**32)
    return default_generator.manual_seed(seed)


def seed() -> _builtins.int:
    """Seed random numbers from the operating system."""
    return default_generator.seed()


def initial_seed() -> _builtins.int:
    """The seed in force."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state: _Any) -> None:
    """Continue the default generator from a state."""
    default_generator.set_state(state)


def is_tensor(x: object) -> _builtins.bool:
    """Whether x is a tensor."""
    return isinstance(x, Tensor)


def is_storage(x: object) -> _builtins.bool:
    """Whether x is a storage."""
    return isinstance(x, _tensor._Storage)


def is_floating_point(input: Tensor) -> _builtins.bool:  # noqa: A002
    """Whether the dtype is floating."""
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> _builtins.bool:  # noqa: A002
    """Whether the dtype is complex."""
    return input.dtype.is_complex


def is_nonzero(input: Tensor) -> _builtins.bool:  # noqa: A002
    """Whether a single element is not zero."""
    return _builtins.bool(input)


def numel(input: Tensor) -> _builtins.int:  # noqa: A002
    """The number of elements."""
    return input.numel()


def result_type(a: _Any, b: _Any) -> dtype:
    """The dtype of an arithmetic result."""
    return _dtypes.result_dtype(a, b)


def can_cast(from_: _Any, to: _Any) -> _builtins.bool:
    """Whether torch's rules allow the conversion."""
    return _real.can_cast(
        _fallback._TO_REAL[_dtypes.as_dtype(from_).name], _fallback._TO_REAL[_dtypes.as_dtype(to).name]
    )


def equal(input: Tensor, other: Tensor) -> _builtins.bool:  # noqa: A002
    """Whether shape and all elements are the same."""
    return tuple(input.shape) == tuple(other.shape) and _builtins.bool((input == other).all())


def allclose(
    input: Tensor,
    other: Tensor,
    rtol: _builtins.float = 1e-5,
    atol: _builtins.float = 1e-8,
    equal_nan: _builtins.bool = False,
) -> _builtins.bool:  # noqa: A002
    """Whether all elements are close."""
    return _builtins.bool(lookup("isclose")(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan).all())


Tensor.equal = equal  # type: ignore[attr-defined]
Tensor.allclose = allclose  # type: ignore[attr-defined]


def broadcast_shapes(*shapes: _Any) -> Size:
    """The shape that shapes broadcast to."""
    return Size(_real.broadcast_shapes(*(tuple(s) if isinstance(s, (tuple, list)) else s for s in shapes)))


def typename(x: object) -> str:
    """The type of x, in words."""
    return x.type() if isinstance(x, Tensor) else f"{type(x).__module__}.{type(x).__qualname__}"


def get_num_threads() -> _builtins.int:
    """Threads of the CPU fallback."""
    return _real.get_num_threads()


def set_num_threads(n: _builtins.int) -> None:
    """Set the threads of the CPU: the fallback's and MindSpore's."""
    _real.set_num_threads(n)


def set_printoptions(**kwargs: _Any) -> None:
    """Printing follows real torch's options, which a stand-in must not change; accepted and ignored."""


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted; float32 products are exact here."""


def get_float32_matmul_precision() -> str:
    """Always "highest"."""
    return "highest"


def use_deterministic_algorithms(mode: _builtins.bool, *, warn_only: _builtins.bool = False) -> None:
    """Ask MindSpore for deterministic kernels."""
    _ms.ms.set_deterministic(_builtins.bool(mode))


def are_deterministic_algorithms_enabled() -> _builtins.bool:
    """Whether deterministic kernels were asked for."""
    return _ms.ms.get_context("deterministic") == "ON"


def compile(model: _Any = None, **kwargs: _Any) -> _Any:  # noqa: A001
    """Runs eagerly: `torch.compile` belongs to PyTorch. MindSpore's graph capture is `mindspore.jit(capture_mode="trace")`."""  # noqa: E501
    return model if model is not None else lambda m: m


def vmap(func: _Any, in_dims: _Any = 0, out_dims: _Any = 0, **kwargs: _Any) -> _Any:
    """Map `func` over a dimension of its tensor arguments, by calling it per entry and stacking."""

    @_functools.wraps(func)
    def mapped(*args: _Any) -> _Any:
        dims = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        n = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        rows = [func(*(a if d is None else a.select(d, i) for a, d in zip(args, dims, strict=True))) for i in range(n)]
        if isinstance(rows[0], tuple):
            return tuple(lookup("stack")(list(c), out_dims) for c in zip(*rows, strict=True))
        return lookup("stack")(rows, out_dims)

    return mapped


def _check(cond: _Any, message: _Any = None) -> None:
    if not cond:
        raise RuntimeError(message() if callable(message) else message or "Expected cond to be True")


def _check_with(error_type: type, cond: _Any, message: _Any) -> None:
    if not cond:
        raise error_type(message())


_check_value = _functools.partial(_check_with, ValueError)


def _check_tensor_all_with(error_type: type, cond: _Any, message: _Any = None) -> None:
    if not cond.all():
        raise error_type(message() if message is not None else "Expected cond to be True")


_check_tensor_all = _functools.partial(_check_tensor_all_with, RuntimeError)


def _check_is_size(i: _Any, message: _Any = None, *, max: _Any = None) -> None:  # noqa: A002
    _check(i >= 0 and (max is None or i <= max), message)


_assert = _check


def _disable_dynamo(fn: _Any = None, recursive: _builtins.bool = True) -> _Any:
    return fn if fn is not None else lambda f: f


def sym_int(x: _Any) -> _builtins.int:
    """int(x)."""
    return _builtins.int(x)


sym_float, sym_max, sym_min, sym_not = _builtins.float, max, min, lambda x: not x
SymInt, SymFloat, SymBool = (type(_n, (), {}) for _n in ("SymInt", "SymFloat", "SymBool"))


class Storage:
    """Legacy name; storages are made by tensors."""


UntypedStorage = TypedStorage = _tensor._Storage


class FloatTensor(Tensor):
    """Legacy constructor of float32 tensors; `LongTensor` and the others likewise."""


def _legacy(name: str, of: dtype) -> type:
    class Meta(type(Tensor)):  # type: ignore[misc]
        def __instancecheck__(cls, x: object) -> _builtins.bool:
            return isinstance(x, Tensor) and x.dtype is of

    def make(cls: type, *args: _Any, **kwargs: _Any) -> Tensor:
        # These make CPU tensors whatever the device context: tables that a model computes outlive loading on meta.
        if args and _builtins.all(isinstance(a, _builtins.int) for a in args):
            return lookup("empty")(*args, dtype=of, device="cpu")
        if not args:
            return lookup("empty")(0, dtype=of, device="cpu")
        return lookup("tensor")(args[0], dtype=of, device="cpu")

    return Meta(name, (Tensor,), {"__new__": make, "dtype": of, "__module__": "torch"})


for _n, _t in (
    ("FloatTensor", "float32"), ("DoubleTensor", "float64"), ("HalfTensor", "float16"), ("BFloat16Tensor", "bfloat16"),
    ("LongTensor", "int64"), ("IntTensor", "int32"), ("ShortTensor", "int16"), ("ByteTensor", "uint8"),
    ("CharTensor", "int8"), ("BoolTensor", "bool"),
):  # fmt: skip
    globals()[_n] = _legacy(_n, _dtypes.as_dtype(_t))


def load(
    f: _Any,
    map_location: _Any = None,
    pickle_module: _Any = None,
    *,
    weights_only: _builtins.bool = True,
    mmap: _Any = None,
    **kwargs: _Any,
) -> _Any:
    """Read a file that torch.save wrote (by either torch), with its tensors as MindSpore tensors."""
    from .serialization import load as read

    return read(f, map_location=map_location, weights_only=weights_only, mmap=mmap)


def save(obj: _Any, f: _Any, *args: _Any, **kwargs: _Any) -> None:
    """Write a file that either torch reads."""
    from .serialization import save as write

    write(obj, f)


from .amp.autocast_mode import (  # noqa: E402
    autocast,
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cache_enabled,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)

lookup = _registry.lookup
detach = Tensor.detach


def __getattr__(name: str) -> _Any:
    import importlib

    if name.startswith("__"):
        raise AttributeError(f"module 'torch' has no attribute {name!r}")
    if name == "torch":  # real torch imports itself, and annotations in modeling files say torch.torch.Tensor
        return importlib.import_module(__name__)
    if name in ("Event", "OutOfMemoryError", "Stream"):
        from . import _accelerator

        return getattr(_accelerator, name)
    if name in ("svd_lowrank", "pca_lowrank"):  # upstream's Python, which draws random numbers
        return getattr(importlib.import_module(f"{__name__}._lowrank"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    value = lookup(name)
    globals()[name] = value
    return value


_SUBMODULES = frozenset(
    "_C _dynamo _utils _VF accelerator amp ao autograd backends compiler cpu cuda distributed distributions export fft func "  # noqa: E501
    "futures fx functional hub jit library linalg mps multiprocessing nn npu onnx ops optim overrides profiler random serialization special "  # noqa: E501
    "testing torch_version types utils version xpu _jit_internal _library _higher_order_ops masked nested sparse".split()  # noqa: E501
)
for _name, _value in _registry.NAMESPACE.items():
    if "." not in _name and _name not in ("range_exclusive", "_cast", "inner_vectors"):
        globals().setdefault(_name, _value)
