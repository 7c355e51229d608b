"""SIGTERM, which schedulers send before they kill: the running step ends, a checkpoint is written, training stops.

Upstream's `enable_jit_checkpoint` does not serve for it: it waits three seconds before it takes notice, saves in the
middle of a step, so that resuming repeats other random numbers, and marks an unfinished checkpoint only by a file
that nobody reads.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from hf_ascend.transformers.trainer_callback import TrainerCallback

logger = logging.getLogger("hf_ascend")


class StopCallback(TrainerCallback):
    """Ends training with a checkpoint after the step in which SIGTERM came. Part of every Trainer that saves."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.received = False

    def handle(self, signum: int, frame: Any) -> None:
        """The signal handler. A forked data loader worker dies of the signal, as it would without us."""
        if os.getpid() != self.owner:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint and the end."""
        if self.received and not control.should_training_stop:
            logger.warning("SIGTERM: step %d has ended, a checkpoint is written and training stops.", state.global_step)
            control.should_save = control.should_training_stop = True


@contextlib.contextmanager
def on_sigterm(trainer: Any) -> Iterator[None]:
    """Handle SIGTERM while the Trainer trains. A handler of the script's own gets the signal when training has ended.

    Nothing is done outside the main thread, where Python allows no handlers, and for a Trainer that saves nothing
    (save_strategy="no" without enable_jit_checkpoint).
    """
    args = trainer.args
    saves = getattr(args, "enable_jit_checkpoint", False) or args.save_strategy != "no"
    before = signal.getsignal(signal.SIGTERM)
    if not saves or before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    callback = StopCallback()
    trainer.add_callback(callback)
    signal.signal(signal.SIGTERM, callback.handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        trainer.remove_callback(StopCallback)
    if callback.received and callable(before):
        before(signal.SIGTERM, None)
