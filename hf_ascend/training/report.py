"""The report of a training: a callback that has its curves drawn at the end."""

from typing import Any

from hf_ascend.training import drawing
from hf_ascend.transformers.trainer_callback import TrainerCallback


class Report(TrainerCallback):
    """Draws loss, learning rate, gradient norm and throughput into `path` (.html or .png) when training ends.

    The Trainer gets a MonitorCallback, too, which measures throughput. Raises ImportError without matplotlib, and
    ValueError or OSError for a path that cannot be written.
    """

    def __init__(self, path: Any):
        drawing.require_matplotlib()
        self.path = drawing.check_path(path)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Write the file."""
        if state.is_world_process_zero:
            drawing.write(self.path, args, state, model)
