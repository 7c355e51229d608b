"""Where kernels take the place of upstream's code: layers and functions that upstream marks with a kernel's name.

transformers decorates what a kernel may compute: `@use_kernel_forward_from_hub("RMSNorm")` on classes,
`@use_kernel_forward_from_hub("rotary_pos_emb")` on functions. `adopt` answers that decorator. A name promises little
(classes differ in where they add 1 or take their epsilon from; functions in how lanes pair), so each class and function
is compared with the kernel's reference on a small input at its first use, and keeps upstream's code if they differ.
With the reference face in force, upstream's code runs: it is what the reference states.

Attention needs no seam here: transformers' "sdpa" interface ends in scaled_dot_product_attention, which is
`kernels.attention`.
"""

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import registry

_EPSILONS = ("variance_epsilon", "eps", "epsilon")


def adopt(name: str, target: Any) -> Any:
    """`target`, a layer class or function that upstream marked with `name`, computed by our kernel where they agree."""
    if name in ("RMSNorm", "RMSNormZeroCentered") and inspect.isclass(target):
        return _adopt_norm(target, centre=1.0 if name == "RMSNormZeroCentered" else 0.0)
    if name == "rotary_pos_emb" and inspect.isfunction(target):
        return _adopt_rotary(target)
    return target


def _label(target: Any) -> str:
    return f"{target.__module__.rpartition('.')[2]}.{target.__qualname__}"


def _note(target: Any, text: str) -> None:
    registry.notes[_label(target)] = text


def _close(a: Any, b: Any) -> bool:
    """Whether two results mean the same: dtype, shape, and value up to what dtypes and orders of rounding do."""
    if a.dtype is not b.dtype or tuple(a.shape) != tuple(b.shape):
        return False
    step = {"float32": 2.0**-20, "float16": 2.0**-9, "bfloat16": 2.0**-6}.get(a.dtype.name, 0.0)
    x, y = (t.detach().float().cpu().numpy() for t in (a, b))
    return bool(np.abs(x - y).max() <= step * max(1.0, float(np.abs(y).max())))


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Work that neither autograd nor a graph capture in progress sees."""
    from hf_ascend import torch
    from hf_ascend.torch._ms import aside

    with aside(), torch.no_grad():
        yield


def _sample(seed: int, *shape: int, like: Any = None) -> Any:
    from hf_ascend import torch

    values = torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))
    return values if like is None else values.to(like.dtype)


class _Stand:
    """A layer with another weight: upstream's forward runs on it as on the layer, which stays untouched."""

    def __init__(self, layer: Any, weight: Any):
        self.__dict__.update(_layer=layer, weight=weight)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._layer, name)
        method = inspect.ismethod(found) and found.__self__ is self._layer
        return types.MethodType(found.__func__, self) if method else found


def _adopt_norm(cls: Any, centre: float) -> Any:
    from . import rms_norm

    upstream = cls.forward
    verdict: list[str | None] = []  # the name of the epsilon attribute, or None: keep upstream's code

    def judge(layer: Any) -> str | None:
        """Decide once; the check costs one tiny forward of each side."""
        epsilon = next((e for e in _EPSILONS if isinstance(getattr(layer, e, None), float)), None)
        weight = getattr(layer, "weight", None)
        if epsilon is None or weight is None or len(weight.shape) != 1:
            _note(cls, "upstream's own code: no weight or epsilon where a norm has them")
            return None
        return epsilon if _norm_agrees(cls, upstream, layer, epsilon, centre) else None

    @functools.wraps(upstream)
    def forward(self: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        if (rms_norm._active or rms_norm.active).name == "reference" or args or kwargs:
            return upstream(self, hidden_states, *args, **kwargs)
        if not verdict:
            if self.weight is not None and self.weight.device.type == "meta":
                return upstream(self, hidden_states)
            verdict.append(judge(self))
        if verdict[0] is None:
            return upstream(self, hidden_states)
        weight = self.weight + centre if centre else self.weight
        return rms_norm.instead(
            lambda: upstream(self, hidden_states), hidden_states, weight, eps=getattr(self, verdict[0])
        )

    cls.forward = forward
    return cls


def _norm_agrees(cls: Any, upstream: Callable[..., Any], layer: Any, epsilon: str, centre: float) -> bool:
    from .reference.rms_norm import rms_norm as reference

    width = int(layer.weight.shape[0])
    with _aside():
        x, weight = _sample(1, 2, width, like=layer.weight), _sample(2, width, like=layer.weight)
        try:
            theirs = upstream(_Stand(layer, weight), x)
            ours = reference(x, weight + centre if centre else weight, eps=getattr(layer, epsilon))
            agrees = _close(theirs, ours)
        except Exception as error:  # noqa: BLE001  upstream's class wants something else: leave it alone, and say so
            _note(cls, f"upstream's own code: {type(error).__name__}: {error}")
            return False
    _note(cls, "rms_norm" if agrees else "upstream's own code: it gives other values than rms_norm")
    return agrees


def _adopt_rotary(function: Callable[..., Any]) -> Callable[..., Any]:
    from . import rotary

    names = list(inspect.signature(function).parameters)
    if names[:4] != ["q", "k", "cos", "sin"] or "unsqueeze_dim" not in names:
        return function
    verdict: list[tuple[str, bool] | None] = []

    @functools.wraps(function)
    def apply(q: Any, k: Any, cos: Any, sin: Any, *args: Any, **kwargs: Any) -> Any:
        def upstream() -> Any:
            return function(q, k, cos, sin, *args, **kwargs)

        if (rotary._active or rotary.active).name == "reference":
            return upstream()
        if not verdict:
            verdict.append(_rotary_style(function))
        given = dict(zip(names[4:], args, strict=False)) | kwargs
        dim = given.pop("unsqueeze_dim", 1)
        if verdict[0] is None or any(v is not None for v in given.values()) or cos.dim() != 3 or dim not in (1, 2):
            return upstream()
        style, doubled = verdict[0]
        c, s = (_doubled(t).unsqueeze(1) if doubled else t.unsqueeze(1) for t in (cos, sin))
        if dim == 1:
            return rotary.instead(upstream, q, k, c, s, style=style)
        out = rotary.instead(lambda: None, q.transpose(1, 2), k.transpose(1, 2), c, s, style=style)
        return upstream() if out is None else tuple(t.transpose(1, 2) for t in out)

    return apply


def _doubled(x: Any) -> Any:
    """The first half of the lanes, each twice: what "pairs" functions make of the cos and sin of "half" models."""
    return x[..., : x.shape[-1] // 2].repeat_interleave(2, dim=-1)


def _rotary_style(function: Callable[..., Any]) -> tuple[str, bool] | None:
    """(style, whether cos and sin are doubled) of an upstream function, found by trying it; None if no style fits."""
    from .reference.rotary import rotary as reference

    with _aside():
        q, k = _sample(1, 2, 4, 3, 8), _sample(2, 2, 2, 3, 8)
        cos, sin = _sample(3, 2, 3, 8), _sample(4, 2, 3, 8)
        try:
            theirs = function(q, k, cos, sin)
            for style, doubled in (("half", False), ("pairs", True), ("pairs", False)):
                c, s = (_doubled(t) if doubled else t for t in (cos, sin))
                ours = reference(q, k, c.unsqueeze(1), s.unsqueeze(1), style=style)
                if all(_close(a, b) for a, b in zip(theirs, ours, strict=True)):
                    _note(function, f"rotary, style {style}")
                    return style, doubled
        except Exception as error:  # noqa: BLE001  upstream's function wants something else: leave it alone, and say so
            _note(function, f"upstream's own code: {type(error).__name__}: {error}")
            return None
    _note(function, "upstream's own code: its lanes pair in another way")
    return None
