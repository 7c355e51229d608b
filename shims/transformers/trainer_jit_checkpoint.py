"""transformers.trainer_jit_checkpoint: `enable_jit_checkpoint` is what SIGTERM does in every Trainer that saves.

Upstream's would take the signal away from `hf_ascend.training.stopping`, whose docstring says why that is needed.
"""

from typing import Any

from .trainer_callback import TrainerCallback


class JITCheckpointCallback(TrainerCallback):
    def set_trainer(self, trainer: Any) -> None:
        """Nothing to do: the Trainer handles SIGTERM itself while it trains."""
