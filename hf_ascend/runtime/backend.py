"""Starts MindSpore once, in the mode of work that suits the device.

On the CPU operators run blocking: the asynchronous pipeline's threads spin against each other on few
cores and cost a small operator milliseconds. For the same reason each operator of MindSpore keeps to one thread there:
PyTorch's threads wait for work by spinning, so that MindSpore's second thread waits for a processor, and an addition of
150,000 numbers takes 1.9 ms instead of 0.24. (MindSpore measures at the first calls whether a second thread pays, which
it does before PyTorch's threads run, and keeps to that.) On Ascend the pipeline is what keeps the device busy, so it
stays. Imperative autograd records from the start, as torch's does; `no_grad` switches it off.
"""

import functools
import os

from hf_ascend.runtime.device import DeviceChoice, choose_device


@functools.cache
def start() -> DeviceChoice:
    """Import mindspore, select the device, and return the choice. Later calls return it again."""
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings about its own internals; errors still show
    import mindspore
    from mindspore.graph.api import _pynative_executor

    choice = choose_device()
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        if choice.target == "CPU":
            mindspore.set_device("CPU")
        else:
            mindspore.set_device("Ascend", int(os.environ.get("LOCAL_RANK", os.environ.get("DEVICE_ID", "0"))))
    except RuntimeError:  # the program used MindSpore before, and its device cannot change any more
        target = mindspore.get_context("device_target")
        if target not in ("CPU", "Ascend"):
            raise
        choice = DeviceChoice(target, f"MindSpore was already running on it ({choice.target} was chosen: {choice.why})")
    if choice.target == "CPU":
        mindspore.runtime.launch_blocking()
        _one_thread_an_operator()
    _pynative_executor.set_grad_flag(True)
    return choice


def _one_thread_an_operator() -> None:
    """Unless the program has set `mindspore.device_context.cpu.op_tuning.threads_num` itself."""
    from mindspore._c_expression import RuntimeConf
    from mindspore.device_context.cpu import op_tuning

    if not RuntimeConf.get_instance().is_op_threads_num_configured():
        op_tuning.threads_num(1)
