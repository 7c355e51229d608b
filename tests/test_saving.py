"""Saving: real transformers reads what is written, bit for bit, and a save that fails leaves the earlier one."""

import json
import os
import subprocess
import sys

import pytest
import torch
import transformers

from hf_ascend import AutoModelForCausalLM
from hf_ascend import torch as standin
from hf_ascend.loading import staged
from loading_common import assert_same_weights, bits, real_llama, real_moe


@pytest.fixture
def model(tmp_path):
    real_llama().save_pretrained(tmp_path / "source")
    return AutoModelForCausalLM.from_pretrained(tmp_path / "source")


def weights(folder):
    return sorted(p.name for p in folder.iterdir() if "safetensors" in p.name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip_both_ways(tmp_path, dtype):
    real = real_llama(getattr(torch, dtype))
    real.save_pretrained(tmp_path / "real")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "real", dtype=dtype)
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert_same_weights(ours, back)
    assert_same_weights(ours, real)
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "ours" / name).read_text()) == json.loads((tmp_path / "real" / name).read_text())
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == (
        tmp_path / "real" / "model.safetensors"
    ).read_bytes()


def test_config_says_the_dtype_by_name(model, tmp_path):
    model.save_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"
    model.to(standin.bfloat16).save_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_fused_experts_are_written_apart(tmp_path):
    real_moe().save_pretrained(tmp_path / "real")
    AutoModelForCausalLM.from_pretrained(tmp_path / "real").save_pretrained(tmp_path / "ours")
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == (
        tmp_path / "real" / "model.safetensors"
    ).read_bytes()


def test_shards(model, tmp_path):
    model.save_pretrained(tmp_path / "ours", max_shard_size="20KB")
    real = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source")
    real.save_pretrained(tmp_path / "real", max_shard_size="20KB")
    assert weights(tmp_path / "ours") == weights(tmp_path / "real")
    index = "model.safetensors.index.json"
    assert (tmp_path / "ours" / index).read_text() == (tmp_path / "real" / index).read_text()
    assert_same_weights(model, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours"))


def test_tied_weights_are_written_once(tmp_path):
    real_llama(tie_word_embeddings=True).save_pretrained(tmp_path / "real")
    AutoModelForCausalLM.from_pretrained(tmp_path / "real").save_pretrained(tmp_path / "ours")
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == (
        tmp_path / "real" / "model.safetensors"
    ).read_bytes()


def test_saving_over_the_folder_a_model_came_from(model, tmp_path):
    with standin.no_grad():
        model.model.norm.weight.add_(1.0)
    model.save_pretrained(tmp_path / "source")
    assert_same_weights(model, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source"))


def test_a_new_save_leaves_no_weights_of_an_earlier_one(model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    model.save_pretrained(out, max_shard_size="20KB")
    model.save_pretrained(out, max_shard_size="40KB")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert weights(out) == sorted({*index["weight_map"].values(), "model.safetensors.index.json"})
    model.save_pretrained(out)
    assert weights(out) == ["model.safetensors"]
    model.save_pretrained(out, max_shard_size="40KB")
    assert "model.safetensors" not in weights(out)
    assert (out / "notes.txt").read_text() == "mine"
    assert not [p for p in out.iterdir() if p.name.startswith(".saving")]


def test_a_given_state_dict_is_what_is_saved(model, tmp_path):
    state = {k: v * 2 for k, v in model.state_dict().items()}
    model.save_pretrained(tmp_path / "out", state_dict=dict(state))
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert all((bits(back.state_dict()[k]) == bits(v)).all() for k, v in state.items())


def test_trained_values_and_resized_embeddings_are_saved(model, tmp_path):
    model.resize_token_embeddings(100)
    model.save_pretrained(tmp_path / "out")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert back.get_input_embeddings().weight.shape == (100, 32)
    assert_same_weights(model, back)


# ---- saves that fail
def test_files_already_in_place_are_taken_back(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (out / name).write_text("old " + name)
    before = {p.name: p.read_text() for p in out.iterdir()}
    moved, replace = [], os.replace

    def failing(source, destination):
        moved.append(destination)
        if len(moved) == 5:  # three old files are aside and one new is in place
            raise OSError(5, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing)

    def save():
        with staged(out) as aside:
            for name in ("a", "b", "model.safetensors"):
                (aside / name).write_text("new")

    with pytest.raises(OSError, match="Input/output error"):
        save()
    assert len(moved) > 5
    assert {p.name: p.read_text() for p in out.iterdir()} == before


def test_an_error_while_writing_leaves_no_folder(tmp_path):
    def save():
        with staged(tmp_path / "out") as aside:
            (aside / "a").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save()
    assert not (tmp_path / "out").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
import transformers
from hf_ascend import AutoModelForCausalLM, torch
from hf_ascend.loading import save_mindspore_checkpoint
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
saves = {
    "whole": lambda f: model.save_pretrained(f),
    "shards": lambda f: model.save_pretrained(f, max_shard_size="20KB"),
    "mindspore": lambda f: save_mindspore_checkpoint(model, f),
}
for name, save in saves.items():
    folder = Path(sys.argv[2]) / name
    save(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (13000, limit[1]))  # config.json fits, weights do not
    try:
        save(folder)
        print(name, "was saved")
    except OSError as error:
        print(name, "refused" if str(folder) in str(error) and "as it was before" in str(error) else error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    print(name, "intact" if {p.name: p.read_bytes() for p in folder.iterdir()} == before else "damaged")
"""


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    real_llama().save_pretrained(tmp_path / "source")
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "source"), str(tmp_path)],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    names = ("whole", "shards", "mindspore")
    assert run.stdout.split("\n")[:6] == [f"{n} {end}" for n in names for end in ("refused", "intact")]
    for name in ("whole", "shards"):
        back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert torch.isfinite(back.model.norm.weight).all()


# ---- torch.save
def test_torch_save_is_read_by_real_torch(model, tmp_path):
    file = tmp_path / "state.pt"
    standin.save({"model": model.state_dict(), "step": 3}, file)
    back = torch.load(file)
    assert back["step"] == 3
    assert all((bits(back["model"][k]) == bits(v)).all() for k, v in model.state_dict().items())


def test_torch_save_writes_shared_memory_once(tmp_path):
    x = standin.ones(1000)
    standin.save([x, x.detach(), standin.nn.Parameter(x)], tmp_path / "shared.pt")
    assert (tmp_path / "shared.pt").stat().st_size < 8000
    a, b, c = torch.load(tmp_path / "shared.pt")
    assert a.data_ptr() == b.data_ptr() == c.data_ptr()


def test_torch_load_gives_mindspore_tensors(tmp_path):
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16), "p": torch.nn.Parameter(torch.ones(3))}, tmp_path / "x.pt")
    back = standin.load(tmp_path / "x.pt")
    assert isinstance(back["a"], standin.Tensor)
    assert back["a"].dtype == standin.bfloat16
    assert isinstance(back["p"], standin.nn.Parameter)
    assert back["p"].requires_grad
