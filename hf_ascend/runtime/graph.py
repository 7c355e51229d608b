"""MindIR files of captured graphs."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST = 2**31 - 1
"""A MindIR file is one protocol buffer, which cannot be longer."""


def export_mindir(function: Callable[..., Any], *inputs: Any, file_name: str | os.PathLike) -> Path:
    """Capture `function(*inputs)`, a model or a function of tensors, and write its graph with its weights as MindIR.

    `mindspore.load(file)` reads the file, and `mindspore.nn.GraphCell` runs it on inputs of the same shapes and
    dtypes. `mindspore.export` cannot make it: it parses the source of `construct` instead of recording what runs.
    The suffix .mindir is added when missing; an existing file is replaced when all is written. Returns the path.

    Raises RuntimeError (a CaptureError) for a function that cannot be captured, ValueError for more than 2 GB.
    """
    import mindspore
    from mindspore._c_expression import JitExecutor_
    from mindspore.graph import jit_trace
    from mindspore.train.mind_ir_pb2 import ModelProto

    from hf_ascend import torch

    path = Path(file_name)
    path = path if path.suffix == ".mindir" else path.with_name(path.name + ".mindir")
    known = set(jit_trace._trace_compile_cache)

    def captured(*tensors: Any) -> Any:  # a function of its own, so that this capture is not another's
        return function(*tensors)

    run = mindspore.jit(function if isinstance(function, mindspore.nn.Cell) else captured, capture_mode="trace")
    with torch.no_grad():
        run(*inputs)
    fresh = set(jit_trace._trace_compile_cache) - known
    if not fresh:
        raise RuntimeError("this model was captured for these inputs before; export a function that calls it instead")
    (phase,) = fresh
    executor = JitExecutor_.get_instance()
    model = ModelProto()
    model.ParseFromString(executor.get_func_graph_proto(phase, "mind_ir", False))
    weights = executor.get_params(phase)
    arrays = [_weight(weights, p).asnumpy() for p in model.graph.parameter]
    size = sum(a.nbytes for a in arrays)
    if size + len(model.SerializeToString()) > _MOST:
        raise ValueError(f"{path}: {size} bytes of weights do not fit into one MindIR file of 2 GB")
    for parameter, array in zip(model.graph.parameter, arrays, strict=True):
        parameter.raw_data = array.tobytes()
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString())
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    return path


def _weight(weights: dict[str, Any], parameter: Any) -> Any:
    """The values of a graph's parameter. Used twice, one appears under a second name with a number behind it."""
    name = parameter.name.rpartition(":")[2]
    found = weights.get(name, weights.get(name.rpartition("_")[0]))
    if found is None or tuple(found.shape) != tuple(parameter.dims):
        raise RuntimeError(f"the graph's parameter {name} of shape {tuple(parameter.dims)} is none of the model's")
    return found
