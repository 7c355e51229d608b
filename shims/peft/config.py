"""peft.config, executed, with files that name a base model's module as real peft does, without our prefix."""

from typing import Any

from . import config__upstream as upstream
from .config__upstream import *  # noqa: F403

_save_pretrained = upstream.PeftConfigMixin.save_pretrained


def save_pretrained(self: Any, save_directory: str, **kwargs: Any) -> None:
    """Write adapter_config.json, which real peft can read."""
    if mapping := kwargs.get("auto_mapping_dict"):
        library = mapping["parent_library"].removeprefix("hf_ascend.")
        kwargs["auto_mapping_dict"] = {**mapping, "parent_library": library}
    _save_pretrained(self, save_directory, **kwargs)


upstream.PeftConfigMixin.save_pretrained = save_pretrained


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
