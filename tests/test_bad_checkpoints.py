"""Damaged or wrong checkpoints: an error that names the file and the tensor, and no model."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_ascend import AutoModelForCausalLM
from hf_ascend import torch as standin
from hf_ascend.loading import save_mindspore_checkpoint
from loading_common import real_llama, real_moe, write_bin


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    real_llama().save_pretrained(folder / "whole")
    real_llama().save_pretrained(folder / "shards", max_shard_size="20KB")
    return folder


@pytest.fixture
def whole(good, tmp_path):
    return shutil.copytree(good / "whole", tmp_path / "whole")


@pytest.fixture
def shards(good, tmp_path):
    return shutil.copytree(good / "shards", tmp_path / "shards")


def refused(folder, error, *words, **kwargs):
    with pytest.raises(error) as caught:
        AutoModelForCausalLM.from_pretrained(folder, **kwargs)
    for word in words:
        assert str(word) in str(caught.value), f"{word!r} is not in: {caught.value}"


def cut(file, keep):
    file.write_bytes(file.read_bytes()[:keep])


@pytest.mark.parametrize("keep", [0, 5, 300, -100])
def test_truncated_safetensors(whole, keep):
    cut(whole / "model.safetensors", keep)
    refused(whole, Exception, whole / "model.safetensors", "damaged")


def test_truncated_shard(shards):
    file = sorted(shards.glob("model-*"))[1]
    cut(file, -10)
    refused(shards, Exception, file, "damaged")


def test_missing_shard(shards):
    index = json.loads((shards / "model.safetensors.index.json").read_text())["weight_map"]
    file = sorted(set(index.values()))[1]
    (shards / file).unlink()
    tensor = min(n for n, f in index.items() if f == file)
    refused(shards, OSError, shards / file, tensor)


def test_damaged_index(shards):
    cut(shards / "model.safetensors.index.json", 100)
    refused(shards, OSError, shards / "model.safetensors.index.json", "JSON")


@pytest.mark.parametrize("form", ["whole", "shards"])
def test_wrong_shape(request, form):
    folder = request.getfixturevalue(form)
    name = "model.layers.1.mlp.up_proj.weight"
    for file in folder.glob("*.safetensors"):
        state = load_file(file)
        if name in state:
            state[name] = torch.zeros(7, 32)
            save_file(state, file, {"format": "pt"})
            changed = file
    refused(folder, RuntimeError, changed, name, [7, 32], [48, 32])
    model = AutoModelForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True)
    assert tuple(model.model.layers[1].mlp.up_proj.weight.shape) == (48, 32)


def test_experts_that_cannot_be_fused(tmp_path):
    real_moe().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    state["model.layers.0.mlp.experts.2.down_proj.weight"] = torch.zeros(32, 5)
    save_file(state, file, {"format": "pt"})
    refused(tmp_path, RuntimeError, file, "model.layers.0.mlp.experts")


def change_config(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def test_unknown_architecture(whole):
    change_config(whole, model_type="no_such_model")
    refused(whole, ValueError, "no_such_model", whole)


def test_config_without_model_type(whole):
    change_config(whole, model_type=None, architectures=None)
    refused(whole, ValueError, "model_type", "config.json", whole)


def test_config_that_is_not_json(whole):
    cut(whole / "config.json", 50)
    refused(whole, OSError, whole / "config.json")


def test_folder_without_weights(whole):
    (whole / "model.safetensors").unlink()
    refused(whole, OSError, whole, "model.safetensors")


def test_folder_that_does_not_exist(tmp_path):
    refused(tmp_path / "nowhere" / "at" / "all", OSError, "nowhere")


class Trap:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("options", [{}, {"weights_only": False}], ids=str)
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, options):
    real_llama().config.save_pretrained(tmp_path)
    file, mark = tmp_path / "pytorch_model.bin", tmp_path / "it_ran"
    torch.save({"model.norm.weight": Trap(f"touch {mark}")}, file)
    refused(tmp_path, pickle.UnpicklingError, file, "system", "safetensors", **options)
    with pytest.raises(pickle.UnpicklingError, match="system"):
        standin.load(file)
    assert not mark.exists()


def test_truncated_pickle(tmp_path):
    write_bin(real_llama(), tmp_path)
    cut(tmp_path / "pytorch_model.bin", -500)
    refused(tmp_path, Exception, tmp_path / "pytorch_model.bin", "damaged")


@pytest.mark.parametrize("keep", [0, 1000, -3])
def test_truncated_mindspore_checkpoint(whole, tmp_path, keep):
    save_mindspore_checkpoint(AutoModelForCausalLM.from_pretrained(whole), tmp_path / "ms")
    cut(tmp_path / "ms" / "model.ckpt", keep)
    refused(tmp_path / "ms", OSError, tmp_path / "ms" / "model.ckpt", "damaged")


def test_changed_byte_in_a_mindspore_checkpoint(whole, tmp_path):
    save_mindspore_checkpoint(AutoModelForCausalLM.from_pretrained(whole), tmp_path / "ms")
    file = tmp_path / "ms" / "model.ckpt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    refused(tmp_path / "ms", OSError, file, "damaged")


def test_damaged_gguf(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\x00" * 40)
    refused(tmp_path, Exception, "bad.gguf", gguf_file="bad.gguf")


def test_a_failed_load_leaves_the_world_as_it_was(whole, good):
    cut(whole / "model.safetensors", -100)
    before = standin.get_default_dtype()
    refused(whole, Exception, "damaged", dtype="bfloat16")
    assert standin.get_default_dtype() == before
    assert standin.zeros(2).device.type == "cpu"
    assert AutoModelForCausalLM.from_pretrained(good / "whole").dtype == standin.float32
