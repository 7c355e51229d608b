"""Chooses the device: an Ascend NPU when the machine has one with CANN, the CPU otherwise."""

import functools
import glob
import os
from dataclasses import dataclass
from pathlib import Path

_CANN_PLACES = ("/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/latest")


@dataclass(frozen=True)
class DeviceChoice:
    """`target` is MindSpore's device target ("CPU" or "Ascend"), `why` the reason in words."""

    target: str
    why: str

    @property
    def type(self) -> str:
        """torch's name of the device type: "cpu" or "npu"."""
        return "npu" if self.target == "Ascend" else "cpu"


def find_cann() -> Path | None:
    """The CANN installation, or None."""
    places = [os.environ.get("ASCEND_TOOLKIT_HOME"), os.environ.get("ASCEND_HOME_PATH"), *_CANN_PLACES]
    return next((Path(p) for p in places if p and Path(p).is_dir()), None)


@functools.cache
def choose_device() -> DeviceChoice:
    """The device of this process. `HF_ASCEND_DEVICE` ("cpu" or "npu") overrides what is found.

    Raises ValueError for another value of HF_ASCEND_DEVICE.
    """
    wanted = os.environ.get("HF_ASCEND_DEVICE", "").lower()
    if wanted in ("npu", "ascend"):
        return DeviceChoice("Ascend", f"HF_ASCEND_DEVICE={wanted}")
    if wanted == "cpu":
        return DeviceChoice("CPU", "HF_ASCEND_DEVICE=cpu")
    if wanted:
        raise ValueError(f"HF_ASCEND_DEVICE={wanted!r}: expected 'cpu' or 'npu'")
    if not glob.glob("/dev/davinci[0-9]*"):
        return DeviceChoice("CPU", "no Ascend NPU found (/dev/davinci*)")
    if find_cann() is None:
        return DeviceChoice("CPU", "an Ascend NPU is present, but no CANN (set ASCEND_TOOLKIT_HOME)")
    return DeviceChoice("Ascend", "an Ascend NPU and CANN are present")
