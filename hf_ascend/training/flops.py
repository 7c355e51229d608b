"""How many floating-point operations a training step of a model takes, and how many the device can do.

The convention is that of model FLOPs utilisation (PaLM, arXiv:2204.02311, appendix B): 6 for each weight and token,
and 12 * layers * heads * head size * length for each token's attention. Not counted: what gradient checkpointing
repeats, and that a causal mask halves attention. Weights without gradients (a model under LoRA) count 4.
"""

import functools
import time
from typing import Any

from hf_ascend import torch
from hf_ascend.runtime import choose_device

_PEAKS = {"910B2": 376e12, "910B3": 313e12, "910B4": 280e12}
"""Ascend NPUs whose peak in half precision Huawei states (Atlas 800T A2 and 300T A2 data sheets)."""


def _weights(model: Any) -> tuple[float, float]:
    """Operations for one token in the encoder, and in all else, by the weights that multiply."""
    lookups = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    output = getattr(model, "get_output_embeddings", lambda: None)()
    last = id(getattr(output, "weight", None))
    lookups.discard(last)  # tied: the same matrix multiplies at the end
    config = model.config.get_text_config()
    experts = next(
        (n for k in ("num_local_experts", "num_experts", "n_routed_experts") if (n := getattr(config, k, 0))), 0
    )
    share = getattr(config, "num_experts_per_tok", experts) / experts if experts else 1.0
    encoder = set()
    if getattr(model.config, "is_encoder_decoder", False):
        encoder = {id(p) for p in model.get_encoder().parameters()} - {last}
    inside = outside = 0.0
    for name, p in model.named_parameters():
        if id(p) in lookups:
            continue
        cost = (6 if p.requires_grad else 4) * p.numel() * (share if ".experts." in name else 1.0)
        if id(p) in encoder:
            inside += cost
        else:
            outside += cost
    return inside, outside


def _attention(config: Any, layers: int, length: int, other: int | None = None) -> float:
    """Operations of attention for one token that looks at `length` tokens (or at `other` of a second sequence)."""
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    if other is not None:
        return 12.0 * layers * width * other
    kinds = (getattr(config, "layer_types", None) or [])[:layers]
    window = getattr(config, "sliding_window", None) or length
    local = sum(k == "sliding_attention" for k in kinds)
    return 12.0 * width * (local * min(window, length) + (layers - local) * length)


class Counter:
    """Counts the operations of a model's training batches."""

    def __init__(self, model: Any):
        self.config = model.config.get_text_config()
        self.pair = bool(getattr(model.config, "is_encoder_decoder", False))
        self.inside, self.outside = _weights(model)

    def count(self, rows: int, length: int, target: int = 0) -> float:
        """Operations, forward and backward, of `rows` sequences (of which an encoder-decoder has `target` tokens)."""
        c = self.config
        if not self.pair:
            return rows * length * (self.outside + _attention(c, c.num_hidden_layers, length))
        layers = getattr(c, "num_decoder_layers", None) or getattr(c, "decoder_layers", None) or c.num_hidden_layers
        return rows * (
            length * (self.inside + _attention(c, c.num_hidden_layers, length))
            + target * (self.outside + _attention(c, layers, target) + _attention(c, layers, target, length))
        )


@functools.cache
def peak() -> float:
    """The device's operations per second: known for some NPUs, else the best of a few matrix products of MindSpore."""
    on_cpu = choose_device().target == "CPU"
    if not on_cpu:
        import mindspore

        name = str(mindspore.hal.get_device_name()).upper()
        known = next((flops for part, flops in _PEAKS.items() if part in name), None)
        if known is not None:
            return known
    n = 1024 if on_cpu else 8192
    x = torch.ones(n, n, dtype=torch.float32 if on_cpu else torch.bfloat16)
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            start = time.perf_counter()
            y = x @ x
            y[0, 0].item()  # wait for it
            best = min(best, time.perf_counter() - start)
    return 2.0 * n**3 / best
