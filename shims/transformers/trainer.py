"""transformers.trainer, executed, with what training needs here beyond it.

Upstream's Trainer writes a checkpoint file by file into its final folder, passes over damaged ones in silence, and
knows nothing of this device. `hf_ascend.training` holds what is added; each override hands on to upstream's.
"""

import functools
from typing import Any

from hf_ascend.loading.staging import remove_leftovers
from hf_ascend.training import checkpoints, garbage, memory, monitor, nonfinite, settings, stopping
from hf_ascend.training.captured import captured

from . import trainer__upstream as upstream
from .trainer__upstream import *  # noqa: F403

_Upstream = upstream.Trainer


class Trainer(_Upstream):
    __doc__ = _Upstream.__doc__
    _on_non_finite = "off"

    @functools.wraps(_Upstream.train)
    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        self._on_non_finite = nonfinite.wanted(self.callback_handler.callbacks)
        settings.add_callbacks(self)
        if self.args.should_save:
            remove_leftovers(self.args.output_dir)
        if resume_from_checkpoint is True:
            resume_from_checkpoint = checkpoints.newest_whole(self.args.output_dir) or True
        elif resume_from_checkpoint:
            checkpoints.require_whole(resume_from_checkpoint)
        with stopping.on_sigterm(self):
            return super().train(resume_from_checkpoint, *args, **kwargs)

    @functools.wraps(_Upstream._inner_training_loop)
    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        with memory.explained(self), captured(self), garbage.set_aside():
            return super()._inner_training_loop(*args, **kwargs)

    @functools.wraps(_Upstream.training_step)
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self._on_non_finite != "off":
            nonfinite.check(self, model, inputs, loss, num_items_in_batch, self._on_non_finite)
        return loss

    @functools.wraps(_Upstream._save_checkpoint)
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        save = functools.partial(super()._save_checkpoint, model, trial)
        if self.args.world_size > 1:  # the processes write into one folder, each its own files
            save()
        else:
            checkpoints.save_whole(self, save, upstream.rotate_checkpoints, trial)

    @functools.wraps(_Upstream.log)
    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        monitor.add_to(logs, self.callback_handler.callbacks)
        super().log(logs, *args, **kwargs)


def __getattr__(name: str) -> Any:
    return getattr(upstream, name)
