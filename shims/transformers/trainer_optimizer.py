"""transformers.trainer_optimizer, executed, with a Lion of our own: bitsandbytes', upstream's, is for CUDA devices."""

from typing import Any

from hf_ascend.training.arguments import UnsupportedArgumentError
from hf_ascend.training.lion import Lion

from . import trainer_optimizer__upstream as upstream
from .trainer_optimizer__upstream import *  # noqa: F403


def get_lion(ctx: Any) -> tuple[Any, dict[str, Any]]:
    """Lion with upstream's arguments."""
    return Lion, {**ctx.optimizer_kwargs, "betas": (ctx.args.adam_beta1, ctx.args.adam_beta2)}


def get_bitsandbytes_optimizer(ctx: Any) -> tuple[Any, dict[str, Any]]:
    """The error for the other ones."""
    name = getattr(ctx.args.optim, "value", ctx.args.optim)
    raise UnsupportedArgumentError(
        f'optim="{name}" is an optimizer of bitsandbytes, whose kernels are for CUDA devices and PyTorch\'s tensors. '
        'Take "adamw_torch" (the same step in 32 bits), or, for less memory, "adafactor" or "lion_32bit".'
    )


upstream._OPTIMIZER_HANDLERS.update(dict.fromkeys(upstream._BITSANDBYTES_OPTIMIZERS, get_bitsandbytes_optimizer))
# what paging moves between a GPU and the host is in the host's memory here
upstream._OPTIMIZER_HANDLERS.update(dict.fromkeys(("lion_32bit", "paged_lion_32bit"), get_lion))


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
