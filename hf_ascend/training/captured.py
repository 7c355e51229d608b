"""`torch_compile=True`: the training forward as MindSpore graphs (docs/CAPTURE.md), with backward through them.

A graph is made for each set of arguments and shapes at its first batch, which takes seconds to minutes. What cannot be
captured (code that looks at values, random numbers other than dropout's) trains eagerly, with one note that says why.
Evaluation is eager.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any

from .arguments import note

MOST = 16
"""Graphs of one training. After some forty, MindSpore's differentiation of captured functions fails."""
_CONSTANTS = (bool, int, float, str, type(None))


@contextlib.contextmanager
def captured(trainer: Any) -> Iterator[None]:
    """Capture the forward of the trainer's model in a `with` block, where its arguments ask for it."""
    model = trainer.model
    if not getattr(trainer.args, "hf_ascend_capture", False):
        yield
        return
    before = model.__dict__.get("forward")
    graphs = Forward(model)

    @functools.wraps(graphs.eager)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return graphs(*args, **kwargs)

    model.forward = forward
    try:
        yield
    finally:
        if before is None:
            del model.forward
        else:
            model.forward = before


class Forward:
    """A model's forward by graphs while it trains. Outputs are upstream's output objects, with their tensors alone."""

    def __init__(self, model: Any):
        self.model, self.eager = model, model.forward
        self.known: dict[Any, Any] = {}
        self.shapes: set[Any] = set()
        self.without_cache = "use_cache" in inspect.signature(self.eager).parameters

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the model's own forward returns, for the same arguments."""
        from hf_ascend import torch

        if args or not self.model.training or not torch.is_grad_enabled():
            return self.eager(*args, **kwargs)
        tensors = {k: v for k, v in kwargs.items() if isinstance(v, torch.Tensor)}
        rest = {k: v for k, v in kwargs.items() if k not in tensors}
        if not tensors or not all(isinstance(v, _CONSTANTS) for v in rest.values()):
            return self.eager(**kwargs)
        key = (*tensors, *rest.items())
        shape = (key, *(tuple(t.shape) for t in tensors.values()))
        if self.known.get(key, self) is None:
            return self.eager(**kwargs)
        if shape not in self.shapes and len(self.shapes) >= MOST:
            note(f"torch_compile=True: {MOST} graphs for batches of different shapes are made; others train eagerly. "
                 "Pad batches to one length.")  # fmt: skip
            return self.eager(**kwargs)
        self.shapes.add(shape)
        if key not in self.known:
            self.known[key] = Graph(
                self.eager, list(tensors), rest | ({"use_cache": False} if self.without_cache else {})
            )
        random = torch.get_rng_state()
        try:
            return self.known[key](list(tensors.values()))
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            self.known[key] = None
            torch.set_rng_state(random)  # of which the attempt may have drawn
            note(f"torch_compile=True: the forward cannot be captured and trains eagerly: {error}")
            return self.eager(**kwargs)


class Graph:
    """One captured call: tensors in, the output object of upstream out."""

    def __init__(self, function: Any, names: list[str], constants: dict[str, Any]):
        import mindspore

        self.kind: Any = None
        self.fields: list[str] = []

        def run(*tensors: Any) -> tuple[Any, ...]:
            out = function(**dict(zip(names, tensors, strict=True)), **constants)
            if not hasattr(out, "items"):
                raise TypeError(f"it returns {type(out).__name__}, not an output object with names")
            self.kind, self.fields = type(out), [k for k, v in out.items() if isinstance(v, mindspore.Tensor)]
            return tuple(out[k] for k in self.fields)

        self.run = mindspore.jit(run, capture_mode="trace")

    def __call__(self, tensors: list[Any]) -> Any:
        """The output for `tensors`, in the order of the names given."""
        from hf_ascend.shims.torch._registry import wrap

        found = wrap(self.run(*tensors))
        found = found if isinstance(found, (tuple, list)) else (found,)
        return self.kind(**dict(zip(self.fields, found, strict=True)))
