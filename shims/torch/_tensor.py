"""torch.Tensor: a subclass of mindspore.Tensor with torch's attributes and methods.

Results of MindSpore operators get this class assigned (same memory layout, so that costs nothing), and
MindSpore's own class stays as it is. Operators become methods through the registry; what stands here is
what is not an operator: metadata, conversion, autograd.
"""

import itertools
import math
from typing import Any

import numpy as np

from . import _autograd, _dtypes, _fallback, _inplace, _registry, _views
from ._device import HOME, META, device
from ._ms import (
    ON_CPU,
    MsParameter,
    MsTensor,
    ParamInfo,
    TensorPy,
    capturing,
    ms,
    ops,
    raw_dtype,
    raw_shape,
    refuse_capture,
    replace_impl,
    traced,
)
from ._size import Size


class _Numel(int):
    """MindSpore's `x.size` is a number, torch's a method: this is the number, and calling it gives the shape."""

    shape: Size

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


class _TensorMeta(type(MsTensor)):  # type: ignore[misc]
    def __instancecheck__(cls, x: object) -> bool:
        if cls is Tensor:
            return isinstance(x, TensorPy)
        return type.__instancecheck__(cls, x)

    def __subclasscheck__(cls, sub: type) -> bool:
        if cls is Tensor:
            # Not TensorPy itself: MindSpore's Tensor is an ABC, which asks its subclasses, and so would claim it too.
            return TensorPy in sub.__mro__ and sub is not TensorPy
        return type.__subclasscheck__(cls, sub)


class Tensor(MsTensor, metaclass=_TensorMeta):
    """A torch tensor that is a MindSpore tensor. `torch.Tensor(2, 3)` and `torch.Tensor([1., 2.])` work as in torch."""

    OWN: frozenset[str]
    """Names defined here, which operators do not override."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from . import empty, tensor

        kwargs.pop("device", None)
        if not args:
            return empty(0)
        if all(isinstance(a, int) for a in args):
            return empty(*args)
        if isinstance(args[0], Size):
            return empty(args[0])
        if isinstance(args[0], MsTensor):
            return args[0]
        return tensor(args[0], dtype=_dtypes.get_default_dtype())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    # ---- metadata
    @property
    def shape(self) -> Size:
        return Size(raw_shape(self))

    @property
    def size(self) -> _Numel:
        shape = Size(raw_shape(self))
        n = _Numel(math.prod(shape))
        n.shape = shape
        return n

    @property
    def dtype(self) -> _dtypes.dtype:
        kind = raw_dtype(self)
        return _dtypes.BY_ID.get(id(kind)) or _dtypes.BY_MS[kind]

    @property
    def device(self) -> device:
        return META if "_meta" in self.__dict__ else HOME

    @property
    def ndim(self) -> int:
        return len(raw_shape(self))

    def dim(self) -> int:
        return len(raw_shape(self))

    ndimension = dim

    def numel(self) -> int:
        return math.prod(raw_shape(self))

    nelement = numel

    def element_size(self) -> int:
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * self.numel()

    def get_device(self) -> int:
        return -1 if ON_CPU else HOME.index or 0

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    is_cuda = property(lambda self: False)
    is_cpu = property(lambda self: ON_CPU and "_meta" not in self.__dict__)
    is_npu = property(lambda self: not ON_CPU)
    is_meta = property(_inplace.is_meta)
    is_sparse = is_quantized = is_mkldnn = is_mps = is_xpu = is_nested = property(lambda self: False)  # type: ignore[assignment]
    is_leaf = property(lambda self: self._is_leaf or not self._requires_grad)
    grad_fn = property(lambda self: None if self._is_leaf or not self._requires_grad else self._grad_node)
    names = property(lambda self: (None,) * len(raw_shape(self)))

    @property
    def layout(self) -> Any:
        from . import strided

        return strided

    def is_contiguous(self, memory_format: Any = None) -> bool:
        return MsTensor.is_contiguous(self)

    def stride(self, dim: int | None = None) -> Any:
        strides = tuple(MsTensor.stride(self))
        return strides if dim is None else strides[dim]

    def is_inference(self) -> bool:
        return False

    def is_pinned(self, *args: Any) -> bool:
        return False

    def is_shared(self) -> bool:
        return False

    def share_memory_(self) -> "Tensor":
        return self

    def pin_memory(self, *args: Any) -> "Tensor":
        return self

    def is_set_to(self, other: Any) -> bool:
        return self.data_ptr() == other.data_ptr() and self.shape == other.shape

    def untyped_storage(self) -> "_Storage":
        return _Storage(self)

    storage = untyped_storage

    # ---- conversion
    def item(self) -> Any:
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return self.tolist_flat()[0]

    def tolist_flat(self) -> list:
        return _host(self).reshape(-1).tolist()

    def tolist(self) -> Any:
        return _host(self).tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if self.dtype is _dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return _inplace.memory(self) if ON_CPU else MsTensor.asnumpy(self)

    def asnumpy(self) -> np.ndarray:
        refuse_capture(self)
        return MsTensor.asnumpy(MsTensor.data.__get__(self))

    __array_priority__ = 1000  # numpy's scalars let the tensor answer: np.float64(2) * x is a tensor

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        a = _host(self)
        return a if dtype is None else a.astype(dtype)

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.is_floating_point or self.numel() != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not raw_shape(self):
            raise TypeError("len() of a 0-d tensor")
        return raw_shape(self)[0]

    def __iter__(self) -> Any:
        if not raw_shape(self):
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, x: Any) -> bool:
        return bool((self == x).any())

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        if capturing():
            return _repr(self)
        return format(self.item(), spec) if not raw_shape(self) and not self.is_meta else object.__format__(self, spec)

    def __repr__(self) -> str:
        return _repr(self)

    __str__ = __repr__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (
            _rebuild,
            (type(self), _bytes(self), self.dtype, tuple(raw_shape(self)), bool(self._requires_grad), _extra(self)),
        )

    def __deepcopy__(self, memo: dict) -> Any:
        if id(self) not in memo:
            if not self.is_leaf:
                raise RuntimeError(
                    "Only Tensors created explicitly by the user support the deepcopy protocol at the moment"
                )
            memo[id(self)] = _copy(self)
        return memo[id(self)]

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return _fallback.to_real(self).__dlpack__()

    def __dlpack_device__(self) -> Any:
        return _fallback.to_real(self).__dlpack_device__()

    def to(self, *args: Any, **kwargs: Any) -> Any:
        dtype, where, other = kwargs.get("dtype"), kwargs.get("device"), kwargs.get("other")
        copy = kwargs.get("copy", False)
        for a in args:
            if isinstance(a, TensorPy):
                other = a
            elif isinstance(a, bool):
                pass  # non_blocking
            elif isinstance(a, (str, int)):
                where = a if not isinstance(a, str) or a.partition(":")[0] in _DEVICE_NAMES else where
                dtype = dtype if where is not None else a
            elif a is not None:
                kind = type(a).__name__
                if kind == "device":
                    where = a
                else:
                    dtype = a
        if other is not None:
            dtype = other.dtype
        if where == "meta":
            return _meta_like(self, dtype)
        if "_meta" in self.__dict__ and (where is not None or dtype is None):  # noqa: SIM102
            if where is not None and where != "meta":
                raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        if dtype is not None:
            dtype = _dtypes.as_dtype(dtype)
            if dtype.ms is not raw_dtype(self):
                return _registry.NAMESPACE["_cast"](self, dtype)
        return self.clone() if copy else self

    def cpu(self, *args: Any, **kwargs: Any) -> "Tensor":
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> "Tensor":
        return self.to(HOME)

    npu = cuda

    def type(self, dtype: Any = None, **kwargs: Any) -> Any:  # noqa: A003
        if dtype is None:
            return f"torch.{_TYPE_NAMES[self.dtype.name]}"
        return self.to(dtype.dtype if hasattr(dtype, "dtype") else _dtype_of_type_name(dtype))

    def type_as(self, other: Any) -> "Tensor":
        return self.to(other.dtype)

    # ---- autograd
    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        self.requires_grad_(flag)

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        if requires_grad and not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if not requires_grad and not self._is_leaf and self._requires_grad:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        MsTensor.requires_grad_(self, requires_grad)
        if requires_grad:
            _autograd.own_gradient(self)
        return self

    @property
    def grad(self) -> Any:
        return _autograd.get_grad(self)

    @grad.setter
    def grad(self, value: Any) -> None:
        _autograd.set_grad(self, value)

    @property
    def data(self) -> "Tensor":
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        _views.unlink(self)
        meta = _inplace.is_meta(value)
        if raw_dtype(value) is raw_dtype(self) and not meta and "_meta" not in self.__dict__:
            TensorPy.set_(self, _detached(value))  # which keeps the gradient and the hooks
        else:
            flag = self._requires_grad
            replace_impl(self, _detached(value))
            if meta:
                self.__dict__["_meta"] = True
            else:
                self.__dict__.pop("_meta", None)
            if self._requires_grad != flag:
                MsTensor.requires_grad_(self, flag)
        _views.twin(self, value)

    def detach(self) -> "Tensor":
        out = _detached(self)
        if "_meta" in self.__dict__:
            out.__dict__["_meta"] = True
        else:
            _views.twin(out, self)
        return out

    def as_subclass(self, cls: type) -> Any:
        """The same memory as an instance of `cls`, a subclass of Tensor; gradients flow back to it."""
        if not (isinstance(cls, type) and issubclass(cls, Tensor)):
            raise TypeError(f"as_subclass takes a subclass of Tensor, not {cls!r}")
        made = self.view_as(self)  # type: ignore[attr-defined]
        made.__class__ = cls
        return made

    def detach_(self) -> "Tensor":
        if "_base" in self.__dict__:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        replace_impl(self, _detached(self))
        return self

    _base: Any = None
    """What this is a view of, or None."""

    def _is_view(self) -> bool:
        return self._base is not None

    def backward(
        self, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        _autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def register_hook(self, hook: Any) -> Any:
        return _autograd.register_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Any:
        return _autograd.register_post_accumulate_grad_hook(self, hook)

    def retain_grad(self) -> None:
        _autograd.retain_grad(self)

    retains_grad = property(lambda self: bool(self.__dict__.get("_kept_grad")))

    @property
    def is_ms_parameter(self) -> bool:
        return isinstance(self, MsParameter)

    def __setstate__(self, state: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        # Reached only for names nothing defines: torch operators without a registration, as counted fallbacks.
        if name[:2] == "__" or name in _NOT_OPERATORS:
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        try:
            method = _registry.lookup("Tensor." + name)
        except AttributeError:
            raise AttributeError(f"'Tensor' object has no attribute {name!r}") from None
        setattr(Tensor, name, method)
        return method.__get__(self, type(self))


_NOT_OPERATORS = frozenset({"_meta", "_is_hf_initialized", "_hf_hook", "param_info", "_is_param", "_kept_grad"})
_DEVICE_NAMES = {"cpu", "cuda", "npu", "meta", "mps", "xpu", "hpu"}
_TYPE_NAMES = {
    "float32": "FloatTensor", "float64": "DoubleTensor", "float16": "HalfTensor", "bfloat16": "BFloat16Tensor",
    "int64": "LongTensor", "int32": "IntTensor", "int16": "ShortTensor", "int8": "CharTensor", "uint8": "ByteTensor",
    "bool": "BoolTensor", "complex64": "ComplexFloatTensor", "complex128": "ComplexDoubleTensor",
}  # fmt: skip


def _dtype_of_type_name(x: Any) -> Any:
    if isinstance(x, str):
        short = x.rpartition(".")[2]
        for name, type_name in _TYPE_NAMES.items():
            if type_name == short:
                return _dtypes.as_dtype(name)
    return _dtypes.as_dtype(x)


class _Storage:
    """As much of a storage as upstream asks of one: where it is and how large."""

    def __init__(self, owner: Any):
        self._owner = owner

    def data_ptr(self) -> int:
        return (
            0
            if _inplace.is_meta(self._owner)
            else self._owner.data_ptr() - self._owner.storage_offset() * self._owner.itemsize
        )

    def nbytes(self) -> int:
        return self._owner.nbytes

    def size(self) -> int:
        return self._owner.nbytes

    device = property(lambda self: self._owner.device)
    __len__ = size


def _host(x: Any) -> np.ndarray:
    """The values as a numpy array; bfloat16 widened to float32."""
    if raw_dtype(x) == _dtypes.bfloat16.ms:
        bits = _inplace.memory(x) if ON_CPU else None
        if bits is None:
            return MsTensor.asnumpy(MsTensor.astype(x, ms.float32))
        return np.asarray(bits.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(bits.shape)
    return _inplace.memory(x) if ON_CPU else MsTensor.asnumpy(x)


def _repr(x: Any) -> str:
    suffix = (
        ", requires_grad=True" if x._requires_grad and x._is_leaf else ", grad_fn=<...>" if x._requires_grad else ""
    )
    if _inplace.is_meta(x):
        return f"tensor(..., device='meta', size={tuple(x.shape)}, dtype={x.dtype}{suffix})"
    if capturing():  # its recorder prints every operand of every operator to nowhere
        return f"tensor(..., size={tuple(x.shape)}, dtype={x.dtype}, while a graph is captured)"
    text = repr(_fallback.to_real(x))
    return text[:-1] + suffix + ")" if suffix else text


def _detached(x: Any) -> Any:
    # In a graph, what is detached still follows its source; only gradients do not.
    out = MsTensor.data.__get__(x) if not capturing() or not traced(x) else ops.stop_gradient(x)
    out.__class__ = Tensor
    return out


def _meta_like(x: Any, dtype: Any) -> Any:
    from . import empty

    return empty(x.shape, dtype=dtype or x.dtype, device="meta")


def _copy(x: Any) -> Any:
    if _inplace.is_meta(x):
        out = _meta_like(x, None)
    else:
        out = (
            _registry.wrap(_inplace.from_numpy(np.array(_inplace.memory(x), order="C")))
            if x.dtype is not _dtypes.bfloat16
            else _registry.wrap(_fallback.from_real(_fallback.to_real(x).clone()))
        )
    if isinstance(x, MsParameter):
        out = make_parameter(out, x._requires_grad)
        out.__class__ = type(x)
    elif x._requires_grad:
        out.requires_grad_(True)
    out.__dict__.update(_extra(x))
    return out


def _extra(x: Any) -> dict:
    return {k: v for k, v in x.__dict__.items() if k not in _BOOKKEEPING and k not in _PARAM_FIELDS}


_BOOKKEEPING = frozenset("_np _view _kin _base _kept_grad _grad_seen _owns_grad param_info _param_info _fresh".split())


def _bytes(x: Any) -> bytes:
    return np.ascontiguousarray(_inplace.memory(x)).tobytes() if ON_CPU else MsTensor.asnumpy(x).tobytes()


def _rebuild(cls: type, data: bytes, dtype: Any, shape: tuple, requires_grad: bool, extra: dict) -> Any:
    a = np.frombuffer(bytearray(data), dtype.np).reshape(shape)
    out = _registry.wrap(_inplace.from_numpy(a))
    if dtype is _dtypes.bfloat16:
        import torch as real

        out = _registry.wrap(_fallback.from_real(real.from_numpy(a.view(np.int16)).view(real.bfloat16)))
    if issubclass(cls, MsParameter):
        out = make_parameter(out, requires_grad)
    elif requires_grad:
        out.requires_grad_(True)
    out.__dict__.update(extra)
    return out


# What MindSpore's own Parameter constructor sets; upstream's names never clash with them.
_PARAM_FIELDS = (
    "init_mode", "is_default_input_init", "layerwise_parallel", "parallel_optimizer", "init_flag", "is_init",
    "_inited_param", "_sliced", "requires_aggr", "_cast_type", "_unique", "is_in_parallel", "_pipeline_stage_list", "load",  # noqa: E501
)  # fmt: skip


class _ParameterMeta(_TensorMeta):
    def __instancecheck__(cls, x: object) -> bool:
        if cls is Parameter:
            return MsParameter in type(x).__mro__
        return type.__instancecheck__(cls, x)

    def __subclasscheck__(cls, sub: type) -> bool:
        return type.__subclasscheck__(cls, sub)


class Parameter(Tensor, MsParameter, metaclass=_ParameterMeta):
    """torch.nn.Parameter, which is a mindspore.Parameter. `Parameter(data, requires_grad=True)` shares data's memory."""  # noqa: E501

    # What MindSpore's constructor would set per object.
    init_mode = _inited_param = _cast_type = None
    is_default_input_init = init_flag = is_init = _sliced = _unique = is_in_parallel = False
    requires_aggr = True
    _pipeline_stage_list: tuple = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        from . import empty

        if data is None:
            data = empty(0)
        out = make_parameter(_detached(data), requires_grad)
        if _inplace.is_meta(data):
            out.__dict__["_meta"] = True
        else:
            _views.twin(out, data)
        if cls is not Parameter:
            out.__class__ = cls
        return out

    def __repr__(self) -> str:
        return "Parameter containing:\n" + _repr(self)

    __str__ = __repr__

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        Tensor.data.fset(self, value)  # type: ignore[attr-defined]

    requires_grad = Tensor.requires_grad

    def clone(self, init: Any = None, *, memory_format: Any = None) -> Tensor:
        """A tensor in the graph, as torch; with `init` a parameter, as MindSpore's optimizers make their states."""
        if init is not None:
            return MsParameter.clone(self, init)
        return Tensor.clone(self, memory_format=memory_format)  # type: ignore[attr-defined]


for _name, _value in vars(MsParameter).items():
    # Where mindspore.Tensor and mindspore.Parameter differ, a parameter does as the latter.
    if (
        hasattr(MsTensor, _name)
        and not hasattr(object, _name)
        and _name not in vars(Tensor)
        and _name not in vars(Parameter)
    ):
        setattr(Parameter, _name, _value)


_numbers = itertools.count()


def make_parameter(x: Any, requires_grad: bool) -> Any:
    """Turn a fresh tensor object into a Parameter in place."""
    x.__class__ = Parameter
    x.param_info = ParamInfo()
    # Graph capture refuses two parameters of one name; `Module.parameters_and_names` gives them their real ones.
    MsParameter.name.fset(x, f"parameter_{next(_numbers)}")  # type: ignore[attr-defined]
    MsTensor.requires_grad_(x, bool(requires_grad))
    if requires_grad:
        _autograd.own_gradient(x)
    return x


Tensor.OWN = frozenset(k for k in vars(Tensor) if not k.startswith("__") or k not in ("__doc__", "__module__"))
_registry.attach(Tensor)
