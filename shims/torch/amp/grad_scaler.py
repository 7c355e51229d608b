"""torch.amp.GradScaler: scaling matters for float16 gradients only; without them it is the identity."""

from typing import Any


class GradScaler:
    """Steps the optimizer without scaling. bfloat16 and float32 gradients need none."""

    def __init__(self, *args: Any, enabled: bool = True, **kwargs: Any):
        self._enabled = False

    def is_enabled(self) -> bool:
        """Whether losses are scaled: no."""
        return False

    def scale(self, outputs: Any) -> Any:
        """The outputs."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing to undo."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step()."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Nothing to update."""

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def state_dict(self) -> dict:
        """Empty."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Nothing to restore."""
