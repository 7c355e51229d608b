"""The models that must match PyTorch: tiny configurations, inputs and labels, as data.

A row of `MODELS` names a model class of transformers, the keyword arguments of its config, and a kind of
input. `build` makes the model with real transformers from a fixed seed; `inputs` makes the arrays. Batches
are padded wherever the model takes a mask: the second row is shorter than the first.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np
import torch
import transformers

VOCAB, LOW, HIGH = 128, 5, 104  # ids below LOW and above HIGH are special tokens in some of the models


@dataclasses.dataclass(frozen=True)
class Model:
    """A row: class name, kind of input, config arguments, and what else to ask for beside the loss."""

    cls: str
    kind: str
    config: dict[str, Any]
    ask: dict[str, Any] = dataclasses.field(default_factory=dict)


_TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GQA = {**_TEXT, "num_key_value_heads": 2}
_VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
_MLA = {
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "qk_nope_head_dim": 16,
    "num_key_value_heads": 4,
}

MODELS: dict[str, Model] = {
    "llama": Model("LlamaForCausalLM", "decoder", _GQA),
    "mistral": Model("MistralForCausalLM", "decoder", {**_GQA, "sliding_window": 4}),
    "qwen2": Model(
        "Qwen2ForCausalLM", "decoder", {**_GQA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    ),
    "qwen3": Model("Qwen3ForCausalLM", "decoder", {**_GQA, "head_dim": 16}),
    "qwen3_moe": Model(
        "Qwen3MoeForCausalLM",
        "decoder",
        {**_GQA, "decoder_sparse_step": 1, "moe_intermediate_size": 48, "num_experts_per_tok": 2, "num_experts": 4},
        ask={"output_router_logits": True},
    ),
    "gemma3_text": Model(
        "Gemma3ForCausalLM",
        "decoder",
        {**_GQA, "head_dim": 16, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "glm4": Model("Glm4ForCausalLM", "decoder", {**_GQA, "head_dim": 16}),
    "deepseek_v3": Model(
        "DeepseekV3ForCausalLM",
        "decoder",
        {
            **_TEXT,
            **_MLA,
            "moe_intermediate_size": 48,
            "n_shared_experts": 1,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
        },
    ),
    "gpt2": Model(
        "GPT2LMHeadModel",
        "decoder",
        {
            "vocab_size": VOCAB,
            "n_positions": 128,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
    ),
    "opt": Model("OPTForCausalLM", "decoder", {**_TEXT, "ffn_dim": 96, "word_embed_proj_dim": 32}),
    "phi3": Model("Phi3ForCausalLM", "decoder", {**_GQA, "original_max_position_embeddings": 64}),
    "minicpm3": Model("MiniCPM3ForCausalLM", "decoder", {**_TEXT, **_MLA, "head_dim": 8}),
    "hunyuan_v1_dense": Model("HunYuanDenseV1ForCausalLM", "decoder", {**_GQA, "eod_token_id": 127, "head_dim": 16}),
    "bert": Model("BertForMaskedLM", "typed_encoder", _TEXT),
    "roberta": Model("RobertaForMaskedLM", "encoder", _TEXT),
    "deberta_v2": Model(
        "DebertaV2ForMaskedLM",
        "encoder",
        {
            **_TEXT,
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "conv_kernel_size": 3,
        },
    ),
    "distilbert": Model(
        "DistilBertForMaskedLM",
        "encoder",
        {
            "vocab_size": VOCAB,
            "max_position_embeddings": 128,
            "n_layers": 2,
            "n_heads": 4,
            "dim": 64,
            "hidden_dim": 96,
            "pad_token_id": 0,
        },
    ),
    "t5": Model(
        "T5ForConditionalGeneration",
        "seq2seq",
        {
            "vocab_size": VOCAB,
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 96,
            "num_layers": 2,
            "num_decoder_layers": 2,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 16,
            "pad_token_id": 0,
            "eos_token_id": 2,
            "decoder_start_token_id": 0,
        },
    ),
    "bart": Model(
        "BartForConditionalGeneration",
        "seq2seq",
        {
            "vocab_size": VOCAB,
            "max_position_embeddings": 128,
            "encoder_layers": 2,
            "encoder_ffn_dim": 96,
            "encoder_attention_heads": 4,
            "decoder_layers": 2,
            "decoder_ffn_dim": 96,
            "decoder_attention_heads": 4,
            "d_model": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "forced_eos_token_id": 2,
        },
    ),
    "vit": Model("ViTForImageClassification", "image", {**_VISION, "num_labels": 3}),
    "clip": Model("CLIPModel", "image_text", {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 64}),
    "siglip": Model("SiglipModel", "image_text", {"text_config": _TEXT, "vision_config": _VISION}),
    "resnet": Model(
        "ResNetForImageClassification",
        "image",
        {"embedding_size": 64, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 2, 2], "num_labels": 3},
    ),
    "whisper": Model(
        "WhisperForConditionalGeneration",
        "speech_seq2seq",
        {
            "vocab_size": VOCAB,
            "num_mel_bins": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_layers": 2,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 96,
            "encoder_ffn_dim": 96,
            "decoder_start_token_id": 1,
            "d_model": 64,
            "max_source_positions": 64,
            "max_target_positions": 128,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "wav2vec2": Model(
        "Wav2Vec2ForCTC",
        "speech",
        {
            "vocab_size": 32,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "conv_dim": [32] * 7,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 4,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "ctc_loss_reduction": "mean",
        },
    ),
    "qwen2_vl": Model(
        "Qwen2VLForConditionalGeneration",
        "qwen_image_chat",
        {
            "text_config": {
                **_GQA,
                "rope_parameters": {"rope_theta": 1e6, "rope_type": "default", "mrope_section": [4, 2, 2]},
            },
            "vision_config": {
                "depth": 2,
                "embed_dim": 64,
                "hidden_size": 64,
                "num_heads": 4,
                "patch_size": 8,
                "spatial_merge_size": 2,
            },
            "image_token_id": 127,
            "video_token_id": 126,
            "vision_start_token_id": 125,
            "vision_end_token_id": 124,
        },
    ),
    "internvl": Model(
        "InternVLForConditionalGeneration",
        "image_chat",
        {
            "vision_config": {**_VISION, "image_size": [32, 32], "patch_size": [8, 8]},
            "text_config": {**_GQA, "model_type": "qwen2"},
            "image_token_id": 127,
        },
    ),
}

GENERATING = tuple(
    n for n, m in MODELS.items() if m.kind in ("decoder", "seq2seq", "speech_seq2seq", "qwen_image_chat", "image_chat")
)
DECODERS = tuple(n for n, m in MODELS.items() if m.kind == "decoder")

Arrays = dict[str, Any]


def build(name: str, seed: int = 0, cls: str | None = None, **config: Any) -> Any:
    """The model of a row (or another class with its config) by real transformers, in eval mode.

    Every parameter is its own initialisation plus noise, so that outputs and gradients depend on all of them:
    zero biases and norm weights of one would hide an operator that forgets them.
    """
    row = MODELS[name]
    kind = getattr(transformers, cls or row.cls)
    torch.manual_seed(seed)
    model = kind(kind.config_class(**{**row.config, **config})).float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            g = torch.Generator().manual_seed((seed * 7919 + zlib.crc32(key.encode())) % 2**31)
            fan_in = max(p[0].numel(), 1) if p.dim() > 1 else 400
            scale = 1.5 if p.dim() == 4 else 1.0
            p.add_(torch.randn(p.shape, generator=g) * max(0.05, scale * fan_in**-0.5))
        for key, b in model.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                g = torch.Generator().manual_seed(zlib.crc32(key.encode()))
                b.add_(torch.rand(b.shape, generator=g) * 0.5)
    model.tie_weights()
    return model


def _ids(rng: np.random.RandomState, rows: int, length: int) -> np.ndarray:
    return rng.randint(LOW, HIGH, (rows, length)).astype(np.int64)


def _padded(rng: np.random.RandomState, length: int, side: str, prefix: list[int] | None = None) -> Arrays:
    """Two rows of ids, the second of which has padding of three on one side, and their mask."""
    ids, mask = _ids(rng, 2, length), np.ones((2, length), np.int64)
    if prefix:
        ids[:, 3 : 3 + len(prefix)] = prefix
    pad = slice(0, 3) if side == "left" else slice(length - 3, length)
    ids[1, pad], mask[1, pad] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def inputs(name: str, seed: int = 0) -> Arrays:
    """The model's inputs as numpy arrays, without labels."""
    rng, kind = np.random.RandomState(seed + 1), MODELS[name].kind

    def image() -> Arrays:
        return {"pixel_values": rng.standard_normal((2, 3, 32, 32)).astype(np.float32)}

    if kind == "decoder":
        return _padded(rng, 12, "left")
    if kind == "encoder":
        return _padded(rng, 12, "right")
    if kind == "typed_encoder":
        return {**_padded(rng, 12, "right"), "token_type_ids": rng.randint(0, 2, (2, 12)).astype(np.int64)}
    if kind == "seq2seq":
        return {**_padded(rng, 12, "right"), "decoder_input_ids": _ids(rng, 2, 8)}
    if kind == "image":
        return image()
    if kind == "image_text":
        return {**_padded(rng, 12, "right"), **image()}
    if kind == "speech_seq2seq":
        features = rng.standard_normal((2, 16, 128)).astype(np.float32)
        return {"input_features": features, "decoder_input_ids": _ids(rng, 2, 8)}
    if kind == "speech":
        mask = np.ones((2, 1600), np.int64)
        mask[1, 1200:] = 0
        return {
            "input_values": rng.standard_normal((2, 1600)).astype(np.float32) * mask.astype(np.float32),
            "attention_mask": mask,
        }
    if kind == "qwen_image_chat":
        text = _padded(rng, 18, "left", prefix=[125, 127, 127, 127, 127, 124])
        patches = rng.standard_normal((32, 384)).astype(np.float32)
        types = (text["input_ids"] == 127).astype(np.int64)
        return {
            **text,
            "pixel_values": patches,
            "image_grid_thw": np.array([[1, 4, 4]] * 2),
            "mm_token_type_ids": types,
        }
    assert kind == "image_chat", kind
    return {**_padded(rng, 16, "left", prefix=[127] * 4), **image()}


def labels(name: str, seed: int = 0) -> Arrays:
    """What makes the model return a loss. Padding does not count."""
    return {**_labels(name, seed), **MODELS[name].ask}


def _labels(name: str, seed: int) -> Arrays:
    rng, kind, given = np.random.RandomState(seed + 2), MODELS[name].kind, inputs(name, seed)
    if kind == "image":
        return {"labels": rng.randint(0, 3, (2,)).astype(np.int64)}
    if kind == "image_text":
        return {"return_loss": True}
    if kind == "speech":
        return {"labels": rng.randint(4, 31, (2, 3)).astype(np.int64)}
    if "decoder_input_ids" in given:
        wanted = _ids(rng, 2, 8)
        wanted[1, 6:] = -100
        return {"labels": wanted}
    wanted = _ids(rng, *given["input_ids"].shape)
    wanted[given["attention_mask"] == 0] = -100
    return {"labels": wanted}


def tensors(arrays: Arrays, like: Any) -> Arrays:
    """Arrays as tensors of `like`, which is torch or hf_ascend.torch; other values as they are."""
    return {k: like.tensor(v) if isinstance(v, np.ndarray) else v for k, v in arrays.items()}


def floats(output: Any, name: str = "") -> dict[str, np.ndarray]:
    """Every floating tensor of a nested output, by its path. Caches are walked too."""
    found: dict[str, np.ndarray] = {}
    if output is None or isinstance(output, (bool, int, float, str)):
        return found
    if hasattr(output, "layers") and hasattr(output, "get_seq_length"):
        for i, layer in enumerate(output.layers):
            found |= floats(getattr(layer, "keys", None), f"{name}.{i}.keys") | floats(
                getattr(layer, "values", None), f"{name}.{i}.values"
            )
    elif hasattr(output, "self_attention_cache"):
        found |= floats(output.self_attention_cache, f"{name}.self") | floats(
            output.cross_attention_cache, f"{name}.cross"
        )
    elif hasattr(output, "is_floating_point"):
        if output.is_floating_point():
            found[name] = np.array(output.detach().numpy())
    elif hasattr(output, "items"):
        for k, v in output.items():
            found |= floats(v, f"{name}.{k}" if name else str(k))
    elif isinstance(output, (list, tuple)):
        for i, v in enumerate(output):
            found |= floats(v, f"{name}.{i}")
    return found


def assert_same_outputs(ours: Any, theirs: Any, tolerance: float = 1e-4) -> None:
    """Every floating tensor agrees: max |a - b| <= tolerance * max(1, max |b|). NaN, nothing and all zeros fail."""
    a, b = floats(ours), floats(theirs)
    assert b, "the reference has no floating output"
    assert a.keys() == b.keys(), f"outputs differ: {sorted(a)} and {sorted(b)}"
    for key, want in b.items():
        got = a[key]
        assert got.shape == want.shape, f"{key}: shape {got.shape}, not {want.shape}"
        assert want.size, f"{key}: the reference is empty"
        assert np.isfinite(want).all(), f"{key}: the reference is not finite"
        assert np.abs(want).max() > 0, f"{key}: the reference is all zero"
        limit = tolerance * max(1.0, float(np.abs(want).max()))
        worst = float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max())
        assert worst <= limit, f"{key}: differs by {worst:.3g}, allowed {limit:.3g}"  # NaN fails this comparison too


def assert_same_gradients(ours: Any, theirs: Any, tolerance: float = 1e-3) -> None:
    """The gradients of all parameters agree relative to each one's own size.

    A gradient that is zero but for rounding (a key bias before softmax, say) is held against the largest
    gradient of the model instead: 1e-6 of it is the floor.
    """
    want = {n: p.grad.numpy() for n, p in theirs.named_parameters() if p.grad is not None}
    got = {n: np.array(p.grad.numpy()) for n, p in ours.named_parameters() if p.grad is not None}
    assert want, "the reference has no gradients"
    largest = max(float(np.abs(g).max()) for g in want.values())
    assert np.isfinite(largest), "the reference's gradients are not finite"
    assert largest > 0, "the reference's gradients are all zero"
    zero = {n for n, g in want.items() if float(np.abs(g).max()) == 0}
    missing = want.keys() - got.keys() - zero
    assert not missing, f"no gradient for {sorted(missing)}"
    extra = {n for n in got.keys() - want.keys() if np.abs(got[n]).max() > 0}
    assert not extra, f"gradients where PyTorch has none: {sorted(extra)}"
    for key in want.keys() & got.keys():
        size = max(float(np.abs(want[key]).max()), largest * 1e-3)
        worst = float(np.abs(got[key].astype(np.float64) - want[key]).max())
        assert worst <= tolerance * size, f"gradient of {key}: differs by {worst:.3g} for values up to {size:.3g}"
