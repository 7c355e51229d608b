"""peft, executed: every tuner family computes, trains, merges and exchanges its files with real peft."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

import hf_ascend
import models

peft = pytest.importorskip("peft")

LAYERS = ["q_proj", "v_proj", "down_proj"]
LORA = {"r": 4, "target_modules": LAYERS, "init_lora_weights": False}

# Name: (configuration class, its arguments, whether it can be merged into the base model).
ADAPTERS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "lora": ("LoraConfig", {**LORA, "lora_alpha": 8}, True),
    "rslora_embedding": ("LoraConfig", {**LORA, "use_rslora": True, "target_modules": [*LAYERS, "embed_tokens"]}, True),
    "lora_modules_to_save": ("LoraConfig", {**LORA, "modules_to_save": ["lm_head"]}, True),
    "pissa": ("LoraConfig", {**LORA, "init_lora_weights": "pissa"}, True),
    "dora": ("LoraConfig", {**LORA, "use_dora": True}, True),
    "ia3": (
        "IA3Config",
        {"target_modules": LAYERS, "feedforward_modules": ["down_proj"], "init_ia3_weights": False},
        True,
    ),
    "adalora": (
        "AdaLoraConfig",
        {"init_r": 6, "target_r": 4, "total_step": 9, "target_modules": LAYERS, "init_lora_weights": False},
        True,
    ),
    "prompt_tuning": ("PromptTuningConfig", {"num_virtual_tokens": 4}, False),
    "p_tuning": ("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_hidden_size": 16}, False),
    "prefix_tuning": ("PrefixTuningConfig", {"num_virtual_tokens": 4}, False),
    "prefix_projection": (
        "PrefixTuningConfig",
        {"num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 16},
        False,
    ),
    "loha": ("LoHaConfig", {"r": 4, "target_modules": LAYERS, "init_weights": False}, True),
    "lokr": ("LoKrConfig", {"r": 4, "target_modules": LAYERS, "init_weights": False}, True),
    "oft": ("OFTConfig", {"oft_block_size": 8, "r": 0, "target_modules": LAYERS, "init_weights": False}, True),
    "vera": ("VeraConfig", {"r": 4, "target_modules": ["q_proj"], "init_weights": False}, True),
    "ln_tuning": ("LNTuningConfig", {"target_modules": ["input_layernorm"]}, True),
    "trainable_tokens": (
        "TrainableTokensConfig",
        {"token_indices": [5, 6, 7], "target_modules": ["embed_tokens"], "init_weights": False},
        True,
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers.logging.disable_progress_bar()
    hf_ascend.transformers.logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("llama")
    models.build("llama").save_pretrained(folder)
    return folder


def make(base: Path, name: str) -> Any:
    """Real peft's adapter with random weights."""
    cls, options, _ = ADAPTERS[name]
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM.from_pretrained(base)
    adapter = peft.get_peft_model(model, getattr(peft, cls)(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for p in adapter.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape) * 0.02)
    return adapter


def load(library: Any, kind: Any, base: Path, adapter: Path) -> Any:
    prompt = library.PeftConfig.from_pretrained(adapter).is_prompt_learning
    model = library.PeftModel.from_pretrained(kind.from_pretrained(base), adapter, is_trainable=not prompt)
    if prompt:  # peft refuses to load these as trainable
        model.prompt_encoder.requires_grad_(True)
    return model.eval()


def step(model: Any, library: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits, and the gradients of what is trained."""
    arrays = models.inputs("llama")
    arrays["labels"] = np.where(arrays["attention_mask"] == 1, arrays["input_ids"], -100)
    out = model(**{k: library.tensor(v) for k, v in arrays.items()})
    out.loss.backward()
    trained = ((k, p.grad) for k, p in model.named_parameters() if p.requires_grad and p.grad is not None)
    return out.logits.detach().numpy(), {k: g.detach().numpy() for k, g in trained}


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1e-6, np.abs(theirs).max()))


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_matches_and_exchanges_with_real_peft(name: str, base: Path, tmp_path: Path) -> None:
    make(base, name).save_pretrained(tmp_path / "theirs")
    theirs = load(peft, transformers.LlamaForCausalLM, base, tmp_path / "theirs")
    ours = load(hf_ascend.peft, hf_ascend.LlamaForCausalLM, base, tmp_path / "theirs")

    (their_logits, their_grads), (our_logits, our_grads) = step(theirs, torch), step(ours, hf_ascend.torch)
    close(our_logits, their_logits, 1e-4)
    assert their_grads
    assert our_grads.keys() == their_grads.keys()
    for key, grad in their_grads.items():
        close(our_grads[key], grad, 1e-3)

    ours.save_pretrained(tmp_path / "ours")
    saved = {side: load_file(tmp_path / side / "adapter_model.safetensors") for side in ("theirs", "ours")}
    assert saved["ours"].keys() == saved["theirs"].keys()
    for key, value in saved["theirs"].items():
        assert saved["ours"][key].dtype == value.dtype
        np.testing.assert_array_equal(saved["ours"][key], value)
    configs = [(tmp_path / side / "adapter_config.json").read_text() for side in ("theirs", "ours")]
    assert configs[0] == configs[1]
    again = load(peft, transformers.LlamaForCausalLM, base, tmp_path / "ours")
    np.testing.assert_array_equal(step(again, torch)[0], their_logits)

    if ADAPTERS[name][2]:
        merged = theirs.merge_and_unload().state_dict()
        ours_merged = ours.merge_and_unload().state_dict()
        assert ours_merged.keys() == merged.keys()
        for key, value in merged.items():
            close(ours_merged[key].detach().numpy(), value.detach().numpy(), 1e-6)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_new_adapter_can_be_made_and_trained(name: str, base: Path) -> None:
    cls, options, _ = ADAPTERS[name]
    config = getattr(hf_ascend.peft, cls)(task_type="CAUSAL_LM", **options)
    model = hf_ascend.peft.get_peft_model(hf_ascend.LlamaForCausalLM.from_pretrained(base), config)
    _, grads = step(model, hf_ascend.torch)
    assert any(np.abs(g).max() > 0 for g in grads.values())


@pytest.mark.parametrize("task", ["CAUSAL_LM", None])
def test_auto_classes_load_base_and_adapter(task: str | None, base: Path, tmp_path: Path) -> None:
    config = {**LORA, "task_type": task}
    model = transformers.LlamaForCausalLM.from_pretrained(base)
    peft.get_peft_model(model, peft.LoraConfig(**config)).save_pretrained(tmp_path / "theirs")
    auto = "AutoPeftModelForCausalLM" if task else "AutoPeftModel"  # without a task the file names the base's class
    ours = getattr(hf_ascend.peft, auto).from_pretrained(tmp_path / "theirs")
    assert isinstance(ours.get_base_model(), hf_ascend.LlamaForCausalLM)
    ours.save_pretrained(tmp_path / "ours")
    theirs = getattr(peft, auto).from_pretrained(tmp_path / "ours")
    arrays = models.inputs("llama")
    with torch.no_grad():
        expected = theirs(**{k: torch.tensor(v) for k, v in arrays.items()}).logits.numpy()
    close(ours(**{k: hf_ascend.torch.tensor(v) for k, v in arrays.items()}).logits.detach().numpy(), expected, 1e-4)
