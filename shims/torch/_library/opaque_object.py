"""torch._library.opaque_object: no type is opaque to a dispatcher that does not exist."""

from typing import Any


def is_opaque_type(cls: Any) -> bool:
    """Always False."""
    return False


is_opaque_reference_type = is_opaque_value_type = is_opaque_value = is_opaque_type
