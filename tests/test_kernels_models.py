"""Whole models on the Ascend code path, emulated on the CPU, against PyTorch.

Tolerances follow from the casts. Attention rounds its inputs, weights and result to float16 when nothing is recorded
(unit roundoff 2^-11) and to bfloat16 when gradients are (2^-8); norms and rotary embedding stay float32. Roundings of
two layers, amplified by what follows them, stay within a few of those units:

* outputs: 8 roundings of float16, 2^-8 * max(1, max |b|);
* loss with gradients: 1 rounding of bfloat16, 2^-8 relative (it averages many tokens);
* gradients: 8 roundings of bfloat16, |a - b| <= 2^-5 * |b| in the Euclidean norm of each parameter's gradient. A
  gradient that all but vanishes (a key bias before softmax is zero in exact arithmetic) is rounding and little else,
  and is held against 2^-5 of the model's largest instead.

OPT's activation is GELU here: ReLU's kink turns a rounding into a jump of the gradient.
"""

import functools
from typing import Any

import numpy as np
import pytest
import torch as real
import transformers

import hf_ascend
import models
from hf_ascend import kernels, runtime
from hf_ascend import torch as ht

OUTPUT, LOSS, GRADIENT, VANISHING = 2.0**-8, 2.0**-8, 2.0**-5, 2.0**-5

NORMS_AND_ROTARY = {"rms_norm", "rotary"}
USES: dict[str, set[str]] = {
    "llama": NORMS_AND_ROTARY,
    "mistral": NORMS_AND_ROTARY,
    "qwen2": NORMS_AND_ROTARY,
    "qwen3": NORMS_AND_ROTARY,
    "qwen3_moe": NORMS_AND_ROTARY,
    "gemma3_text": {"rotary"},  # upstream marks its norm with no kernel
    "glm4": {"rms_norm"},  # nor these rotary embeddings
    "deepseek_v3": {"rms_norm"},
    "phi3": {"rms_norm"},
    "minicpm3": NORMS_AND_ROTARY,
    "hunyuan_v1_dense": NORMS_AND_ROTARY,
    "gpt2": set(),
    "opt": set(),
    "bert": set(),
    "roberta": set(),
    "distilbert": set(),
    "t5": set(),
    "bart": set(),
    "vit": set(),
    "clip": set(),
    "siglip": set(),
    "whisper": set(),
    "wav2vec2": set(),
    "qwen2_vl": NORMS_AND_ROTARY,
    "internvl": NORMS_AND_ROTARY,
}
"""Kernels that a model uses besides attention, which all of them do."""

CHANGED = {
    "qwen3_moe": {"output_router_logits": False},  # upstream's generate cannot compute the router's loss
    "opt": {"activation_function": "gelu"},
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """name -> (the real model, ours loaded from its folder), each made once."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def load(name: str) -> tuple[Any, Any]:
        theirs = models.build(name, **CHANGED.get(name, {}))
        theirs.save_pretrained(folder / name)
        return theirs, getattr(hf_ascend, models.MODELS[name].cls).from_pretrained(folder / name).eval()

    return load


@pytest.fixture(autouse=True)
def emulated():
    """Each test starts counting anew and runs on the Ascend code path."""
    kernels.reset_report()
    runtime.reset_fallbacks()
    with kernels.use("emulated"):
        yield


def assert_only_cann(name: str, *allowed: str) -> None:
    """Every kernel that the model uses ran on the cann face, and nothing was passed over but for `allowed` reasons."""
    report = kernels.report()
    for kernel in ("attention", "rms_norm", "rotary"):
        expected = kernel == "attention" or kernel in USES[name]
        assert bool(report[kernel]["calls"].get("cann")) is expected, (kernel, report[kernel])
        assert set(report[kernel]["fallbacks"]) <= set(allowed), report[kernel]
    assert not [op for op in runtime.fallbacks() if "attention" in op]


@pytest.mark.parametrize("name", USES)
def test_outputs(loaded, name):
    theirs, ours = loaded(name)
    with real.no_grad():
        want = theirs(**models.tensors(models.inputs(name), real))
    with ht.no_grad():
        got = ours(**models.tensors(models.inputs(name), ht))
    models.assert_same_outputs(got, want, OUTPUT)
    assert_only_cann(name)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3"])
def test_outputs_of_a_bfloat16_model(loaded, name, tmp_path):
    """All activations are bfloat16 on both sides: 8 roundings of it."""
    loaded(name)[0].save_pretrained(tmp_path)
    cls = models.MODELS[name].cls
    theirs = getattr(transformers, cls).from_pretrained(tmp_path, dtype=real.bfloat16).eval()
    ours = getattr(hf_ascend, cls).from_pretrained(tmp_path, dtype=ht.bfloat16).eval()
    with real.no_grad():
        want = theirs(**models.tensors(models.inputs(name), real)).logits.float()
    with ht.no_grad():
        got = ours(**models.tensors(models.inputs(name), ht)).logits
    assert got.dtype is ht.bfloat16
    models.assert_same_outputs({"logits": got.float()}, {"logits": want}, 2.0**-5)
    assert_only_cann(name)


@pytest.mark.parametrize("name", USES)
def test_loss_and_gradients(loaded, name):
    theirs, ours = loaded(name)
    given = {**models.inputs(name), **models.labels(name)}
    theirs.zero_grad()
    ours.zero_grad()
    want, got = theirs(**models.tensors(given, real)).loss, ours(**models.tensors(given, ht)).loss
    want.backward()
    got.backward()
    assert abs(got.item() - want.item()) <= LOSS * abs(want.item())
    expected = {n: p.grad.numpy() for n, p in theirs.named_parameters() if p.grad is not None}
    found = {n: p.grad.numpy() for n, p in ours.named_parameters() if p.grad is not None}
    norm = np.linalg.norm
    largest = max(norm(g) for g in expected.values())
    assert largest > 0
    for key, grad in expected.items():
        error, limit = norm(found[key] - grad), GRADIENT * max(norm(grad), VANISHING * largest)
        assert error <= limit, f"gradient of {key}: differs by {error:.3g}, allowed {limit:.3g}"
    assert_only_cann(name, "cann: the mask needs gradients")  # T5 learns its position bias


@pytest.mark.parametrize("name", [n for n in USES if n in (*models.DECODERS, "t5", "whisper", "qwen2_vl")])
def test_greedy_generation(loaded, name):
    theirs, ours = loaded(name)
    given = {k: v for k, v in models.inputs(name).items() if k != "decoder_input_ids"}
    want = theirs.generate(**models.tensors(given, real), max_new_tokens=4, do_sample=False)
    got = ours.generate(**models.tensors(given, ht), max_new_tokens=4, do_sample=False)
    assert got.tolist() == want.tolist()
    assert_only_cann(name)
