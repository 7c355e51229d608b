"""Models give PyTorch's numbers: outputs with padding, losses, and the gradients of all parameters."""

import numpy as np
import pytest
import torch

from hf_ascend import runtime
from hf_ascend import torch as htorch
from models import DECODERS, MODELS, assert_same_gradients, assert_same_outputs, inputs, labels, tensors


def _both(pair, arrays, **kwargs):
    with torch.no_grad():
        theirs = pair.theirs(**tensors(arrays, torch), **kwargs)
    with htorch.no_grad():
        ours = pair.ours(**tensors(arrays, htorch), **kwargs)
    return ours, theirs


@pytest.mark.parametrize("name", MODELS)
def test_every_output_matches(pair, name):
    ours, theirs = _both(pair(name), inputs(name), output_hidden_states=True)
    assert_same_outputs(ours, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_all_gradients_match(pair, name):
    both, arrays = pair(name), {**inputs(name, seed=1), **labels(name, seed=1)}
    theirs = both.theirs(**tensors(arrays, torch))
    ours = both.ours(**tensors(arrays, htorch))
    assert_same_outputs(ours, theirs)
    theirs.loss.backward()
    ours.loss.backward()
    assert_same_gradients(both.ours, both.theirs)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "resnet"])
def test_eager_attention_gives_the_attention_weights(pair, name):
    both = pair(name)
    before = [m.config._attn_implementation for m in (both.ours, both.theirs)]
    try:
        for model in (both.ours, both.theirs):
            model.set_attn_implementation("eager")
        ours, theirs = _both(both, inputs(name), output_attentions=True)
        assert_same_outputs(ours, theirs)
    finally:
        for model, kind in zip((both.ours, both.theirs), before, strict=True):
            model.set_attn_implementation(kind)


# What PyTorch's own operators still do for these models: MindSpore's CTC kernel takes other conventions.
_FALLBACKS = {"wav2vec2": {"ctc_loss"}}


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_needs_no_fallback(pair, name):
    ours = pair(name).ours
    runtime.reset_fallbacks()
    ours(**tensors({**inputs(name), **labels(name)}, htorch)).loss.backward()
    assert set(runtime.fallbacks()) <= _FALLBACKS.get(name, set())


# Heads and shapes that the table's rows do not have: (row, class, config, labels by name -> shape and range).
_HEADS = [
    ("bert", "BertForSequenceClassification", {"num_labels": 3}, {"labels": ((2,), 3)}),
    ("bert", "BertForSequenceClassification", {"num_labels": 1}, {"labels": ((2,), None)}),
    ("bert", "BertForTokenClassification", {"num_labels": 5}, {"labels": ((2, 12), 5)}),
    ("bert", "BertForQuestionAnswering", {}, {"start_positions": ((2,), 12), "end_positions": ((2,), 12)}),
    ("bert", "BertForPreTraining", {}, {"labels": ((2, 12), 100), "next_sentence_label": ((2,), 2)}),
    ("roberta", "RobertaForTokenClassification", {"num_labels": 5}, {"labels": ((2, 12), 5)}),
    (
        "distilbert",
        "DistilBertForSequenceClassification",
        {"num_labels": 4, "problem_type": "multi_label_classification"},
        {"labels": ((2, 4), None)},
    ),
    ("deberta_v2", "DebertaV2ForSequenceClassification", {"num_labels": 3}, {"labels": ((2,), 3)}),
    ("llama", "LlamaForSequenceClassification", {"num_labels": 3}, {"labels": ((2,), 3)}),
    ("gpt2", "GPT2ForTokenClassification", {"num_labels": 3}, {"labels": ((2, 12), 3)}),
    ("wav2vec2", "Wav2Vec2ForSequenceClassification", {"num_labels": 3}, {"labels": ((2,), 3)}),
    ("vit", "ViTForMaskedImageModeling", {"encoder_stride": 8}, None),
]


@pytest.mark.parametrize(("name", "cls", "config", "wanted"), _HEADS, ids=[f"{h[1]}-{i}" for i, h in enumerate(_HEADS)])
def test_other_heads_match(pair, name, cls, config, wanted):
    both, rng = pair(name, cls, **config), np.random.RandomState(5)
    arrays = inputs(name, seed=3)
    for key, (shape, high) in (wanted or {}).items():
        value = rng.rand(*shape).astype(np.float32) if high is None else rng.randint(0, high, shape).astype(np.int64)
        arrays[key] = value
    if wanted is None:
        arrays["bool_masked_pos"] = rng.rand(2, 16) > 0.5
    theirs = both.theirs(**tensors(arrays, torch))
    ours = both.ours(**tensors(arrays, htorch))
    assert_same_outputs(ours, theirs)
    theirs.loss.backward()
    ours.loss.backward()
    assert_same_gradients(both.ours, both.theirs)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (
            "llama",
            {
                "hidden_size": 60,
                "num_attention_heads": 3,
                "num_key_value_heads": 1,
                "head_dim": 20,
                "attention_bias": True,
            },
        ),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 5e5,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 32,
                }
            },
        ),
        ("qwen3", {"num_hidden_layers": 3, "tie_word_embeddings": True}),
        ("qwen3_moe", {"num_experts": 8, "num_experts_per_tok": 3, "norm_topk_prob": True, "mlp_only_layers": [0]}),
        ("phi3", {"partial_rotary_factor": 0.5}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True}),
        ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
        ("wav2vec2", {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}),
        ("resnet", {"layer_type": "basic", "downsample_in_first_stage": True}),
        (
            "deberta_v2",
            {"share_att_key": False, "position_biased_input": True, "conv_kernel_size": 0, "type_vocab_size": 2},
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else next(iter(v)),
)
def test_other_configurations_match(pair, name, config):
    both, arrays = pair(name, seed=7, **config), {**inputs(name, seed=2), **labels(name, seed=2)}
    theirs = both.theirs(**tensors(arrays, torch))
    ours = both.ours(**tensors(arrays, htorch))
    assert_same_outputs(ours, theirs)
    theirs.loss.backward()
    ours.loss.backward()
    assert_same_gradients(both.ours, both.theirs)


@pytest.mark.parametrize("name", DECODERS)
def test_decoding_with_a_cache_gives_what_one_pass_gives(pair, name):
    ours = pair(name).ours
    ids = htorch.tensor(inputs(name)["input_ids"][:1])  # the row without padding
    with htorch.no_grad():
        whole = ours(input_ids=ids).logits
        first = ours(input_ids=ids[:, :9], use_cache=True)
        rest = [
            ours(input_ids=ids[:, i : i + 1], past_key_values=first.past_key_values, use_cache=True)
            for i in range(9, 12)
        ]
    for i, out in zip(range(9, 12), rest, strict=True):
        want = whole[:, i].numpy()
        assert np.abs(want).max() > 0
        assert np.abs(out.logits[:, 0].numpy() - want).max() <= 1e-4 * max(1, np.abs(want).max())


def test_the_comparison_refuses_nan_zeros_and_nothing():
    good = {"logits": torch.ones(2, 3)}
    assert_same_outputs({"logits": htorch.ones(2, 3)}, good)
    for ours, theirs in (
        ({"logits": htorch.full((2, 3), float("nan"))}, good),
        ({"logits": htorch.ones(2, 3)}, {"logits": torch.full((2, 3), float("nan"))}),
        ({"logits": htorch.zeros(2, 3)}, {"logits": torch.zeros(2, 3)}),
        ({}, {}),
        ({"logits": htorch.ones(2, 3)}, {**good, "more": torch.ones(1)}),
        ({"logits": htorch.ones(2, 3) * 1.001}, good),
    ):
        with pytest.raises(AssertionError):
            assert_same_outputs(ours, theirs)
