"""torch._prims_common: names for annotations."""

from typing import Any

DeviceLikeType = Any
