"""torch.version: PyTorch's version, and no CUDA."""

import torch as _real

__version__ = _real.__version__
git_version = _real.version.git_version
cuda = hip = xpu = cann = None
debug = False
