"""torch.jit.annotations: names of types, which TorchScript would read."""

from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: F401, UP035

from .._jit_internal import BroadcastingList1, BroadcastingList2, BroadcastingList3, Future  # noqa: F401

Module = Any
