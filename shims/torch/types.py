"""torch.types: names for annotations."""

import builtins
from typing import Any, Union

from ._device import device
from ._dtypes import dtype

Number = Union[builtins.int, builtins.float, builtins.bool]  # noqa: UP007
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
_dtype, _device, _size, _layout, _symint, _dispatchkey, _TensorOrTensors, _TensorOrTensorsOrGradEdge = (
    dtype,
    device,
    Any,
    Any,
    Any,
    str,
    Any,
    Any,
)
Device, FileLike, Storage, Type, IntLikeType, FloatLikeType, BoolLikeType, py_sym_types = (Any,) * 8
_Number = (builtins.int, builtins.float, builtins.bool)
