"""A NaN or infinite loss, named with its step and the first module whose output is not finite.

Nothing is watched before: when a loss is not finite, the same batch runs once more with the same weights (the step
of the optimizer has not happened yet) and a forward hook on each module.
"""

import logging
import os
from typing import Any

from hf_ascend import torch
from hf_ascend.transformers.trainer_callback import TrainerCallback

logger = logging.getLogger("hf_ascend")
ACTIONS = ("off", "warn", "error")


class NonFiniteLossError(FloatingPointError):
    """The loss of a training step is NaN or infinite; the message says where that begins."""


class NonFiniteCallback(TrainerCallback):
    """What the Trainer does about a NaN or infinite loss: "error", "warn" or "off".

    Without this callback the environment variable HF_ASCEND_NAN decides, and without that it is "off".
    """

    def __init__(self, action: str = "error"):
        if action not in ACTIONS:
            raise ValueError(f"the action for a loss that is not finite is {action!r}; expected one of {ACTIONS}")
        self.action = action


def wanted(callbacks: list[Any]) -> str:
    """The action that the callbacks or the environment ask for. Raises ValueError for an unknown one."""
    given = next((c for c in callbacks if isinstance(c, NonFiniteCallback)), None)
    if given is not None:
        return given.action
    action = os.environ.get("HF_ASCEND_NAN", "off").lower() or "off"
    if action not in ACTIONS:
        raise ValueError(f"HF_ASCEND_NAN={action!r}: expected one of {', '.join(ACTIONS)}")
    return action


def _kind(x: Any) -> str | None:
    """What a tensor, or the first bad tensor of a container, holds: "NaN", "infinity", or None."""
    if isinstance(x, torch.Tensor):
        if not x.is_floating_point() or bool(torch.isfinite(x).all()):
            return None
        return "NaN" if bool(torch.isnan(x).any()) else "infinity"
    values = x.values() if isinstance(x, dict) else x if isinstance(x, (tuple, list)) else ()
    return next((kind for v in values if (kind := _kind(v))), None)


def _first_module(trainer: Any, model: Any, inputs: Any, count: Any) -> str:
    """Run the batch again, and say where the first output that is not finite comes from."""
    for name, value in inputs.items():
        if kind := _kind(value):
            return f"the batch itself holds {kind} in {name!r}"
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            if found or not (kind := _kind(output)):
                return
            bad = [f"{name}.{n}" if name else n for n, p in module.named_parameters() if _kind(p)]
            weights = f"; its parameter {bad[0]} holds {_kind(dict(model.named_parameters())[bad[0]])}" if bad else ""
            found.append(f"the first output that is not finite is {name or 'the model'}'s ({type(module).__name__})")
            found[0] += f", which holds {kind}{weights}"

        return hook

    random = torch.get_rng_state()
    buffers = [(b, b.clone()) for b in model.buffers()]  # running averages go on from where they were
    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            trainer.compute_loss(model, trainer._prepare_inputs(inputs), num_items_in_batch=count)
    except Exception as error:  # the diagnosis must not hide what it is about
        found.append(f"the batch could not be run again ({type(error).__name__}: {error})")
    finally:
        for handle in handles:
            handle.remove()
        for buffer, value in buffers:
            buffer.data.copy_(value)
        torch.set_rng_state(random)
    return found[0] if found else "every module's output is finite, so it comes from the loss function"


def check(trainer: Any, model: Any, inputs: Any, loss: Any, count: Any, action: str) -> None:
    """Warn, or raise NonFiniteLossError, if the loss of a training step is not finite."""
    if bool(torch.isfinite(loss)):
        return
    where = _first_module(trainer, model, inputs, count)
    told = f"The loss of step {trainer.state.global_step + 1} is {float(loss)}: {where}."
    if action == "error":
        raise NonFiniteLossError(f"{told} HF_ASCEND_NAN=warn goes on with a warning.")
    logger.warning(told)
