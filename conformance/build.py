"""From an entry to a model of real transformers with weights that matter, and to inputs.

Weights are the library's own initialisation under the entry's seed plus noise on every parameter: biases and norm
weights that start at exactly 0 or 1 would hide a wrong use of them. Inputs come from the entry's descriptions.
"""

import importlib
import zlib
from typing import Any

import numpy as np

from hf_ascend.conformance import vision
from hf_ascend.conformance.catalog import Entry

_CODEBOOKS = ("embed", "embed_sum", "embed_avg")  # buffers of quantisers, all zero until trained


def materialize(descriptions: dict[str, Any], seed: int) -> dict[str, Any]:
    """Arrays (nested in lists and dicts as described) for an entry's `inputs` or `labels`.

    A description has `shape` and `dtype`, and either `value` or `kind`: randn, uniform, randint (both with low and
    high), ones, zeros, arange, const; or it nests others (list, dict) or is a Python value (py). Each array has a
    random stream of its own, from the seed and its name.
    """
    return {name: _one(name, d, seed) for name, d in descriptions.items()}


def _one(name: str, d: dict[str, Any], seed: int) -> Any:
    kind = d.get("kind")
    if kind == "list":
        return [_one(f"{name}.{i}", x, seed) for i, x in enumerate(d["items"])]
    if kind == "dict":
        return {n: _one(f"{name}.{n}", x, seed) for n, x in d["items"].items()}
    if kind == "py":
        return d["value"]
    rng = np.random.RandomState((seed * 1000003 + zlib.crc32(name.encode())) % 2**32)
    dtype, shape = d.get("dtype", "float32"), d.get("shape", [])
    kind = kind or ("randint" if dtype.startswith("int") else "randn")
    if "value" in d:
        value = np.asarray(d["value"]).reshape(d.get("shape", np.shape(d["value"])))
    elif kind == "randn":
        value = rng.standard_normal(shape) * d.get("scale", 1.0)
    elif kind == "uniform":
        value = rng.uniform(d.get("low", 0.0), d.get("high", 1.0), shape)
    elif kind == "randint":
        value = rng.randint(d.get("low", 0), d.get("high", 2), shape)
    elif kind == "arange":
        low = d.get("low", 0)
        value = np.broadcast_to(np.arange(low, low + shape[-1]), shape)
    elif kind in ("ones", "zeros", "const"):
        value = np.full(shape, {"ones": 1, "zeros": 0, "const": d.get("fill", 0)}[kind])
    else:
        raise ValueError(f"input {name!r}: unknown kind {kind!r}")
    return np.ascontiguousarray(value).astype(dtype)


def tensors(value: Any, torch: Any) -> Any:
    """The same nesting with every array as a tensor of `torch`, real or stand-in."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {k: tensors(v, torch) for k, v in value.items()}
    if isinstance(value, list):
        return [tensors(v, torch) for v in value]
    return value


def model_class(entry: Entry, transformers: Any) -> type:
    """The entry's class from `transformers`, which is the real package or the retargeted one."""
    vision.ready()
    auto = importlib.import_module(transformers.__name__ + ".models.auto.configuration_auto")
    folder = f"{transformers.__name__}.models.{auto.model_type_to_module_name(entry.model_type)}"
    found = getattr(importlib.import_module(folder), entry.class_name, None)
    return found if found is not None else getattr(transformers, entry.class_name)


def config(entry: Entry, cls: type) -> Any:
    """The config that `cls` is built from: the entry's, or the part of it that the class asks for."""
    from transformers import CONFIG_MAPPING, __version__

    whole = CONFIG_MAPPING[entry.model_type](**entry.config(__version__))
    wanted = getattr(cls, "config_class", None)
    if wanted is None or isinstance(whole, wanted):
        return whole
    parts = getattr(whole, "sub_configs", None) or {}
    if parts.get("text_config") is wanted:
        return whole.get_text_config()
    return next((p for p in (getattr(whole, k, None) for k in parts) if type(p) is wanted), whole)


def model(entry: Entry, seed: int) -> Any:
    """The entry's model of real transformers, float32, in eval mode, with noise on every parameter."""
    import torch
    import transformers

    cls = model_class(entry, transformers)
    torch.manual_seed(seed)
    made = cls(config(entry, cls)).float().eval()
    _stir(made, seed, entry.facts.get("init_scale", 0.05))
    return made


def _noise(name: str, like: Any, seed: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed((seed * 7919 + zlib.crc32(name.encode())) % 2**31)
    return torch.randn(like.shape, generator=generator, dtype=torch.float32)


def _stir(made: Any, seed: int, scale: float) -> None:
    """Add noise to every parameter, so large that each matters and so small that activations keep their size."""
    import torch

    with torch.no_grad():
        for name, p in made.named_parameters():
            if not (p.is_floating_point() or p.is_complex()):
                continue
            std = scale
            if p.dim() >= 2 and scale > 0:
                std = max(scale, (1.5 if p.dim() == 4 else 1.0) * max(int(np.prod(p.shape[1:])), 1) ** -0.5)
            noise, base = _noise(name, p, seed) * std, p.data
            if p.is_complex():
                p.data = base + noise.to(p.dtype)
                continue
            if base.numel() and not base.float().abs().max() <= 1e3:  # not initialised at all
                base = torch.zeros_like(base)
            p.data = (base.float() + noise).to(p.dtype)
        for name, b in made.named_buffers():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in _CODEBOOKS and b.is_floating_point() and b.dim() >= 2 and not b.any():
                b.copy_(_noise(name, b, seed) * 0.5)
    tie = getattr(made, "tie_weights", None)
    if tie is not None:
        tie()
