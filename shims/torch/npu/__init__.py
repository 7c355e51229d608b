"""torch.npu: the process's accelerator under torch_npu's name; the same as torch.cuda."""

from ..cuda import *  # noqa: F403
from ..cuda import __getattr__, amp  # noqa: F401
