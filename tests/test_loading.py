"""Loading: every source, every form of dtype, the values and keys of real transformers."""

import logging

import mindspore
import numpy as np
import pytest
import torch
import transformers

import hf_ascend
from hf_ascend import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM
from hf_ascend import torch as standin
from loading_common import assert_same_weights, bits, real_llama, real_moe, write_bin, write_gguf


@pytest.fixture(scope="module")
def model():
    return real_llama()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    path = tmp_path_factory.mktemp("half")
    real_llama(torch.bfloat16).save_pretrained(path)
    return path


# ---- sources
def test_safetensors(model, folder):
    assert_same_weights(AutoModelForCausalLM.from_pretrained(folder), model)


def test_sharded_safetensors_with_a_progress_bar(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(transformers.utils.logging, "_tqdm_active", True)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    capsys.readouterr()
    assert_same_weights(AutoModelForCausalLM.from_pretrained(tmp_path), model)
    assert "Loading weights: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("shards", [1, 3])
def test_pytorch_bin(model, tmp_path, shards):
    write_bin(model, tmp_path, shards)
    assert_same_weights(AutoModelForCausalLM.from_pretrained(tmp_path), model)


def test_pytorch_bin_in_half_precision_is_widened(tmp_path):
    real = real_llama(torch.float16)
    write_bin(real, tmp_path)
    assert_same_weights(AutoModelForCausalLM.from_pretrained(tmp_path), real.float())


def test_a_state_dict_of_the_user_is_used_and_left_alone(folder, model):
    state = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").state_dict()
    before = {k: bits(v).copy() for k, v in state.items()}
    loaded = LlamaForCausalLM.from_pretrained(None, config=AutoConfig.from_pretrained(folder), state_dict=state)
    assert all(np.array_equal(bits(v), before[k]) for k, v in state.items())
    theirs = model.to(torch.bfloat16).float()
    try:
        assert_same_weights(loaded, theirs)
    finally:
        model.load_state_dict(real_llama().state_dict())


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "Q8_0"])
def test_gguf(tmp_path, quantized):
    write_gguf(tmp_path / "tiny.gguf", quantized)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    real = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    assert_same_weights(ours, real)
    ids = [[1, 5, 9]]
    with torch.no_grad():
        expected = real(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(np.asarray(ours(standin.tensor(ids)).logits.detach()), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mindspore_checkpoint(folder, model, tmp_path, dtype):
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    file = hf_ascend.loading.save_mindspore_checkpoint(ours, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if "config" not in p.name] == ["model.ckpt"]
    back = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert type(back) is type(ours)
    assert_same_weights(back, model if dtype == "float32" else real_llama(torch.bfloat16))
    assert set(ours.state_dict()) <= set(mindspore.load_checkpoint(str(file)))


def test_mindspore_checkpoint_of_fused_experts_is_saved_under_upstream_names_again(tmp_path):
    real = real_moe()
    real.save_pretrained(tmp_path / "real")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "real")
    hf_ascend.loading.save_mindspore_checkpoint(ours, tmp_path / "ms")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "ms")
    assert_same_weights(back, real)
    back.save_pretrained(tmp_path / "again")
    assert_same_weights(back, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again"))


def test_weight_conversions_fuse_experts(tmp_path):
    real = real_moe()
    real.save_pretrained(tmp_path)
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "np") as f:
        assert "model.layers.0.mlp.experts.3.up_proj.weight" in f.keys()  # noqa: SIM118
    assert_same_weights(AutoModelForCausalLM.from_pretrained(tmp_path), real)


def test_renamed_keys_of_an_old_bert(tmp_path):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )
    real = transformers.BertModel(config).eval()
    config.save_pretrained(tmp_path)
    old = {
        "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in real.state_dict().items()
    }
    torch.save(old, tmp_path / "pytorch_model.bin")
    assert_same_weights(hf_ascend.BertModel.from_pretrained(tmp_path), real)


def test_tied_weights_are_one_parameter(tmp_path):
    real_llama(tie_word_embeddings=True).save_pretrained(tmp_path)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert ours.lm_head.weight is ours.model.embed_tokens.weight


def test_keys_are_reported_as_upstream_reports_them(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    state["model.extra.weight"] = torch.zeros(2)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    _, ours = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    _, real = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert ours == real
    assert ours["missing_keys"] == {"model.layers.1.mlp.up_proj.weight"}
    assert ours["unexpected_keys"] == {"model.extra.weight"}


# ---- dtype
FORMS = [
    "bfloat16", "torch.bfloat16", torch.bfloat16, standin.bfloat16, mindspore.bfloat16,
]  # fmt: skip


@pytest.mark.parametrize("loader", [AutoModelForCausalLM, LlamaForCausalLM], ids=["auto", "class"])
@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{type(f).__module__}.{f}")
def test_dtype_forms(half, loader, keyword, form):
    ours = loader.from_pretrained(half, **{keyword: form})
    assert ours.dtype == standin.bfloat16
    assert ours.config.dtype is torch.bfloat16
    assert_same_weights(ours, real_llama(torch.bfloat16))


def test_numpy_dtype(half):
    assert AutoModelForCausalLM.from_pretrained(half, dtype=np.float16).dtype == standin.float16


@pytest.mark.parametrize("default", [{}, {"dtype": "auto"}, {"torch_dtype": "auto"}, {"dtype": None}], ids=str)
def test_half_precision_is_float32_on_the_cpu_by_default(half, default):
    ours = AutoModelForCausalLM.from_pretrained(half, **default)
    assert ours.dtype == standin.float32
    assert ours.config.dtype is torch.float32
    assert_same_weights(ours, real_llama(torch.bfloat16).float())


def test_it_is_said_once_that_half_precision_becomes_float32(half, folder):
    from transformers.utils import logging as hf_logging

    logger = hf_logging.get_logger("hf_ascend.transformers.modeling_utils__upstream")
    logger.warning_once.__func__.cache_clear()
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    try:
        for path in (half, half, folder):
            AutoModelForCausalLM.from_pretrained(path)
    finally:
        logger.removeHandler(handler)
    assert len([s for s in said if "bfloat16" in s and "float32" in s]) == 1


def test_unknown_dtype_is_refused(folder):
    with pytest.raises(ValueError, match=r"float99.*bfloat16"):
        AutoModelForCausalLM.from_pretrained(folder, dtype="float99")


def test_from_config_takes_the_same_dtypes(half):
    config = AutoConfig.from_pretrained(half)
    assert AutoModelForCausalLM.from_config(config).dtype == standin.float32
    for form in FORMS:
        made = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(half), dtype=form)
        assert made.dtype == standin.bfloat16
        assert made.config.dtype is torch.bfloat16


def test_large_and_small_bfloat16_values_survive(tmp_path):
    real = real_llama(torch.bfloat16)
    with torch.no_grad():
        real.model.norm.weight[:3] = torch.tensor([1e20, 1e-30, -3e38])
    real.save_pretrained(tmp_path)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_same_weights(ours, real.float())


# ---- the file
def test_writing_to_a_weight_does_not_write_to_its_file(folder, model):
    ours = AutoModelForCausalLM.from_pretrained(folder)
    with standin.no_grad():
        ours.model.norm.weight.add_(1.0)
    assert np.allclose(bits(ours.model.norm.weight), bits(model.model.norm.weight) + 1)
    assert_same_weights(AutoModelForCausalLM.from_pretrained(folder), model)
