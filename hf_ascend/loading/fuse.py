"""Fused weights, read straight into place.

Many checkpoints hold the experts of a layer, or the parts of a projection, one by one, and the model holds them as
one tensor. Upstream reads the parts, stacks them and concatenates the stacks: each layer is in memory two or
three times, and what is freed in between leaves holes in the heap. Here the fused tensor is made first, and each
part is read into its slot of it.
"""

from collections.abc import Callable
from typing import Any

import torch as real

from hf_ascend.torch import _fallback, _registry

from .stream import FileTensor, Job, real_dtype

_TASK = 4 << 20
"""Bytes that one task of a thread reads: enough to outweigh the handing over."""


def fusible(converter: Any, stack: type, concatenate: type) -> bool:
    """Whether a WeightConverter only stacks and concatenates, into one tensor.

    `stack` and `concatenate` are upstream's MergeModulelist and Concatenate; a subclass may do more.
    """
    kinds = [type(op) for op in converter.operations]
    known = kinds in ([stack], [concatenate], [stack, concatenate])
    return known and len(converter.target_patterns) == 1 and converter.quantization_operation is None


def fused(converter: Any, concatenate: type) -> Callable[[], Any] | None:
    """What reads the tensor that a `fusible` converter makes, or None: the parts do not fit and upstream shall say so.

    Its `collected_tensors` are lists of `Job` by source pattern, none of which has been started.
    """
    collected, ops = converter.collected_tensors, converter.operations
    order = [p for p in converter.source_patterns if p in collected]
    joined = type(ops[-1]) is concatenate
    stacked = len(ops) == 2 or not joined
    jobs = [job for pattern in order for job in collected[pattern]]
    if not jobs or len(order) != len(collected) or not all(isinstance(job, Job) for job in jobs):
        return None
    if stacked and len(order) != (len(converter.source_patterns) if joined else 1):
        return None
    known = {id(job): _stored(job) for job in jobs}
    dtypes = {real_dtype(job.dtype) or known[id(job)][0] for job in jobs}
    # (shape, jobs) of what is concatenated: stacks, or the parts themselves
    try:
        groups = (
            [(_stack([known[id(job)][1] for job in collected[p]], ops[0].dim), collected[p]) for p in order]
            if stacked
            else [(known[id(job)][1], [job]) for job in jobs]
        )
        shape = _concatenate([s for s, _ in groups], ops[-1].dim) if joined else groups[0][0]
    except ValueError:
        return None
    if len(dtypes) != 1:
        return None

    def read() -> Any:
        out = real.empty(shape, dtype=dtypes.copy().pop())
        slots, start = [], 0
        for size, group in groups:
            part = out.narrow(ops[-1].dim, start, size[ops[-1].dim]) if joined else out
            start += size[ops[-1].dim] if joined else 0
            slots += [(job, part.select(ops[0].dim, i) if stacked else part) for i, job in enumerate(group)]
        _read(slots)
        return _registry.wrap(_fallback.from_real(out))

    return read


def _stored(job: Job) -> tuple[real.dtype, tuple[int, ...]]:
    if isinstance(job.tensor, FileTensor):
        return job.tensor.stored
    return _fallback._TO_REAL[job.tensor.dtype.name], tuple(job.tensor.shape)


def _stack(shapes: list[tuple[int, ...]], dim: int) -> tuple[int, ...]:
    """The shape of a stack along `dim`, or ValueError."""
    if len(set(shapes)) != 1 or not 0 <= dim <= len(shapes[0]):
        raise ValueError(shapes)
    return (*shapes[0][:dim], len(shapes), *shapes[0][dim:])


def _concatenate(shapes: list[tuple[int, ...]], dim: int) -> tuple[int, ...]:
    """The shape of a concatenation along `dim`, or ValueError."""
    rest = {(*s[:dim], *s[dim + 1 :]) for s in shapes}
    if not 0 <= dim < min(map(len, shapes)) or len(rest) != 1:
        raise ValueError(shapes)
    return (*shapes[0][:dim], sum(s[dim] for s in shapes), *shapes[0][dim + 1 :])


def _fill(slots: list[tuple[Job, real.Tensor]]) -> None:
    for job, slot in slots:
        if isinstance(job.tensor, FileTensor):
            job.tensor.read_into(slot)
        else:
            slot.copy_(_fallback.to_real(job.tensor))


def _read(slots: list[tuple[Job, real.Tensor]]) -> None:
    """Read each job's tensor into its slot, in the threads that read ahead if there are any."""
    window = slots[0][0].window
    # MindSpore's tensors are taken over on the thread that runs its operators
    if window is None or not all(isinstance(job.tensor, FileTensor) for job, _ in slots):
        _fill(slots)
        return
    tasks: list[list[tuple[Job, real.Tensor]]] = [[]]
    size = 0
    for job, slot in slots:
        if size >= _TASK:
            tasks.append([])
            size = 0
        tasks[-1].append((job, slot))
        size += job.size
    for future in [window.pool.submit(_fill, task) for task in tasks]:
        future.result()
