"""What the process runs on: the device, MindSpore's mode of work, and what fell back to PyTorch.

`device`     which device, and why.
`backend`    starts MindSpore once, in the mode that suits the device.
`workers`    refuses to train copies that never exchange gradients.
`counters`   counts operators that ran on the torch CPU fallback.
`graph`      MindIR files of captured graphs.
`environment` the versions report behind `hf-ascend env`.

Importing this package imports neither torch nor mindspore.
"""

from hf_ascend.runtime.counters import fallbacks, forbid_fallbacks, reset_fallbacks
from hf_ascend.runtime.device import DeviceChoice, choose_device

__all__ = ["DeviceChoice", "choose_device", "fallbacks", "forbid_fallbacks", "reset_fallbacks"]
