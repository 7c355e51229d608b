"""torch.nn.Module as a mindspore.nn.Cell.

Upstream's Module is executed and inherited; what is ours joins it to the Cell: both see the same
dictionaries of parameters, children and buffers, so MindSpore's tools (`trainable_params`,
`value_and_grad`, `save_checkpoint`) work on a model, and calls accept foreign tensors.
"""

import functools
import inspect
import itertools
import time
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import _capture
from ..._grad_mode import ensure_recording
from ..._ms import MsParameter, MsTensor, grad_recording, jit_state, ms
from ..._registry import NAMESPACE
from ..._tensor import Parameter, Tensor
from . import module__upstream as upstream
from .module__upstream import *  # noqa: F403
from .module__upstream import Module as TorchModule
from .module__upstream import (  # noqa: F401
    _IncompatibleKeys,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

Cell = ms.nn.Cell
_CellBase = Cell.__mro__[1]
_OURS = frozenset({Tensor, Parameter, type(None), bool, int, float, str})

# What a Cell keeps per instance and MindSpore reads; the dictionaries are shared with Module's own.
_CELL_STATE: dict[str, Any] = {}


_births = itertools.count(time.time_ns())
"""By its time of creation, unlike that of any other, MindSpore tells the captured graphs of two modules apart."""


def _cell_state() -> dict[str, Any]:
    if not _CELL_STATE:
        plain = Cell()
        for name, value in vars(plain).items():
            if name not in ("_params", "_cells", "_buffers", "training", "_create_time") and not isinstance(
                value, (dict, set, OrderedDict)
            ):
                _CELL_STATE[name] = value
    return _CELL_STATE


class _Plain:
    """Ends upstream's `super().__setattr__` and relatives at `object`, before they reach the Cell's own."""

    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


class _Yielding:
    """A Cell's property that gives way to an attribute a module sets under the same name."""

    def __init__(self, getter: Any):
        self.getter = getter

    def __get__(self, cell: Any, owner: Any = None) -> Any:
        return self if cell is None else self.getter(cell)


class _Construct:
    """MindSpore's name for a module's call, with the parameters of its `forward`.

    mindspore.jit binds arguments to them: what it cannot bind it would take for constants of the graph.
    """

    def __get__(self, module: Any, owner: Any = None) -> Any:
        function = _construct_of(owner or type(module))
        return function if module is None else types.MethodType(function, module)


@functools.cache
def _construct_of(cls: Any) -> Any:
    def construct(self: Any, *args: Any, **kwargs: Any) -> Any:
        if jit_state._jit_context is None:
            return self(*args, **kwargs)
        _capture.check_bound(kwargs)
        return _capture.plain(self(*args, **kwargs))

    construct.__doc__ = cls.forward.__doc__
    construct.__signature__ = inspect.signature(cls.forward)  # type: ignore[attr-defined]
    return construct


_CELL_NAMES = frozenset(n for n in dir(Cell) if not n.startswith("__")) - frozenset(dir(TorchModule))


class Module(TorchModule, _Plain, Cell):
    """Base class of all neural network modules, with torch's API, on MindSpore."""

    for _name in dir(Cell):
        if isinstance(_found := getattr(Cell, _name, None), property) and _name not in vars(TorchModule):
            locals()[_name] = _Yielding(_found.fget)
    del _name, _found

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _CellBase.__init__(self, type(self).__name__)
        state = self.__dict__
        state.update(_cell_state())
        state.update(_params_list=OrderedDict(), _primitives=OrderedDict(), _jit_config_dict={})
        state["_create_time"] = next(_births)
        TorchModule.__init__(self, *args, **kwargs)
        state["_params"], state["_cells"] = self._parameters, self._modules

    def __setattr__(self, name: str, value: Any) -> None:
        TorchModule.__setattr__(self, name, value)
        if name in _CELL_NAMES and name not in self.__dict__:
            self.__dict__[name] = value  # a child named like a method of Cell must be found first

    __getattr__ = TorchModule.__getattr__
    __delattr__ = TorchModule.__delattr__
    __repr__ = TorchModule.__repr__
    __dir__ = TorchModule.__dir__
    __str__ = TorchModule.__repr__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for a in args:
            if a.__class__ not in _OURS:
                args = tuple(accept(a) for a in args)
                break
        for a in kwargs.values():
            if a.__class__ not in _OURS:
                kwargs = {k: accept(v) for k, v in kwargs.items()}
                break
        if not grad_recording():
            ensure_recording()
        if jit_state._jit_context is not None:
            return _capture.outermost(self._call_impl, args, kwargs)
        return self._call_impl(*args, **kwargs)

    def __del__(self) -> None:
        pass  # a Cell's releases compiled graphs of its own, which a Module never has

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (_new, (type(self),), self.__getstate__())

    def __getstate__(self) -> dict[str, Any]:
        hidden = {"_params", "_cells", "_create_time", *_cell_state()}
        return {k: v for k, v in self.__dict__.items() if k not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(_cell_state())
        self.__dict__.update(_params_list=OrderedDict(), _primitives=OrderedDict(), _jit_config_dict={})
        self.__dict__["_create_time"] = next(_births)
        TorchModule.__setstate__(self, state)
        self.__dict__["_params"], self.__dict__["_cells"] = self._parameters, self._modules

    construct = _Construct()

    # ---- a Cell's view of the model, under torch's parameter names
    def parameters_and_names(self, name_prefix: str = "", expand: bool = True) -> Iterator[tuple[str, Any]]:
        """MindSpore's `named_parameters`."""
        for name, p in self.named_parameters(prefix=name_prefix, recurse=expand):
            if p.name != name:
                MsParameter.name.fset(p, name)
            yield name, p

    def get_parameters(self, expand: bool = True) -> Iterator[Any]:
        """MindSpore's `parameters`."""
        return (p for _, p in self.parameters_and_names(expand=expand))

    def trainable_params(self, recurse: bool = True) -> list[Any]:
        """Parameters that require a gradient, named uniquely, as mindspore.value_and_grad wants them."""
        return [p for p in self.get_parameters(expand=recurse) if p.requires_grad]

    def parameters_dict(self, recurse: bool = True) -> "OrderedDict[str, Any]":
        """Name -> parameter."""
        return OrderedDict(self.parameters_and_names(expand=recurse))

    def init_parameters_data(self, auto_parallel_mode: bool = False) -> dict[Any, Any]:
        """Parameters here always have their values; MindSpore's would stumble over absent ones (a bias of None)."""
        return {}

    def cells_and_names(self, cells: Any = None, name_prefix: str = "") -> Iterator[tuple[str, Any]]:
        """MindSpore's `named_modules`."""
        return self.named_modules(prefix=name_prefix)

    def cells(self) -> Any:
        """MindSpore's `children`."""
        return self._modules.values()

    def set_train(self, mode: bool = True) -> "Module":
        """MindSpore's `train`."""
        return self.train(mode)

    def named_buffers(self, *args: Any, **kwargs: Any) -> Any:
        """All buffers with their names."""
        return TorchModule.named_buffers(self, *args, **kwargs)


def _new(cls: type) -> Module:
    return cls.__new__(cls)


def accept(value: Any) -> Any:
    """Real torch tensors, numpy arrays and plain MindSpore tensors as the stand-in's; anything else as it is."""
    kind = type(value)
    if kind in _OURS or isinstance(value, Tensor) and kind.__module__.startswith("hf_ascend"):
        return value
    if isinstance(value, MsTensor):
        ensure_recording()
        return NAMESPACE["as_tensor"](value)
    module = kind.__module__.partition(".")[0]
    if module == "torch" and hasattr(value, "untyped_storage"):
        return NAMESPACE["as_tensor"](value)
    if kind is np.ndarray:
        return NAMESPACE["as_tensor"](value)
    if kind is list or kind is tuple:
        return kind(accept(v) for v in value)
    if kind is dict:
        return {k: accept(v) for k, v in value.items()}
    return value


upstream.Module = Module  # isinstance checks and annotations inside upstream's file mean this class


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
