"""Small checkpoints written by real transformers, and comparisons with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

LLAMA = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": False,
}  # fmt: skip
MOE = LLAMA | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}


def real_llama(dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A Llama with random weights in real transformers."""
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA | changes)).to(dtype).eval()


def real_moe(dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A Qwen3-MoE, whose experts are fused in memory and apart on disk."""
    torch.manual_seed(0)
    return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**MOE | changes)).to(dtype).eval()


def bits(t: Any) -> np.ndarray:
    """A tensor's bytes as an array of its shape; torch's, the stand-in's and MindSpore's alike."""
    if isinstance(t, torch.Tensor):
        t = t.detach().contiguous()
        return t.view(torch.int16).numpy() if t.dtype is torch.bfloat16 else t.numpy()
    from hf_ascend.torch import _inplace

    a = np.ascontiguousarray(_inplace.memory(t.detach()))
    return a.view(np.int16) if a.dtype == np.uint16 else a


def assert_same_weights(ours: Any, real: Any) -> None:
    """Both models have the same names, dtypes, shapes and bits."""
    mine, theirs = ours.state_dict(), real.state_dict()
    assert list(mine) == list(theirs)
    for name, t in theirs.items():
        assert str(mine[name].dtype) == str(t.dtype), name
        assert np.array_equal(bits(mine[name]), bits(t)), name


def write_bin(model: Any, folder: Path, shards: int = 1) -> None:
    """A checkpoint as torch.save writes it, as older models on the hub have it."""
    model.config.save_pretrained(folder)
    state = model.state_dict()
    names = list(state)
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    weight_map = {}
    for i in range(shards):
        file = f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin"
        part = {n: state[n].clone() for n in names[i::shards]}
        torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def write_gguf(path: Path, quantized: bool, layers: int = 1, hidden: int = 64, ffn: int = 96, vocab: int = 96) -> None:
    """A Llama with random weights as a GGUF file, its matrices as Q8_0 or everything as float32."""
    import gguf

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // 4)
    writer.add_vocab_size(vocab)
    shapes = {"token_embd": (vocab, hidden), "output": (vocab, hidden), "output_norm": (hidden,)}
    layer = {
        "attn_q": (hidden, hidden), "attn_k": (hidden // 2, hidden), "attn_v": (hidden // 2, hidden),
        "attn_output": (hidden, hidden), "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn),
        "attn_norm": (hidden,), "ffn_norm": (hidden,),
    }  # fmt: skip
    shapes |= {f"blk.{i}.{name}": shape for i in range(layers) for name, shape in layer.items()}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape, np.float32)
        if quantized and len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
