"""transformers.training_args, executed, with arguments that belong to other devices noted or refused.

Upstream's answers are about GPUs ("--tf32 requires Ampere"), or the arguments fail later, deep inside of accelerate.
"""

from typing import Any

from hf_ascend.training import arguments

from . import training_args__upstream as upstream
from .training_args__upstream import *  # noqa: F403


class TrainingArguments(upstream.TrainingArguments):
    __doc__ = upstream.TrainingArguments.__doc__

    def __post_init__(self) -> None:
        arguments.settle(self)
        super().__post_init__()


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
