"""torch.xpu: never present beside MindSpore, like torch.mps."""

from .mps import *  # noqa: F403
from .mps import __getattr__  # noqa: F401
