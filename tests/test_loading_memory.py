"""Loading keeps little but the weights in memory, and what it reads piece by piece is what is in the file."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gguf as real_gguf
import mindspore
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_ascend import AutoModelForCausalLM, Qwen3MoeForCausalLM, gguf
from hf_ascend import torch as standin
from hf_ascend.loading import ckpt, fuse, load_mindspore_checkpoint, save_mindspore_checkpoint, stream
from hf_ascend.transformers import core_model_loading
from loading_common import assert_same_weights, bits, real_llama, real_moe, write_bin, write_gguf

# ---- peak memory, of a process that has loaded a small model of the kind before
MEMORY = """
import ctypes, gc, json, sys
from hf_ascend import AutoModelForCausalLM

def status(key):
    return int(next(l for l in open("/proc/self/status") if l.startswith(key)).split()[1]) * 1024

out = {}
for case, (small, big) in json.loads(sys.argv[1]).items():
    AutoModelForCausalLM.from_pretrained(small[0], **small[1])  # all is imported, threads and kernels are there
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # so that nothing is loaded into what an earlier model left
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak counts from here
    base = status("VmRSS")
    model = AutoModelForCausalLM.from_pretrained(big[0], **big[1])
    weights = sum(p.nbytes for p in model.parameters()) + sum(b.nbytes for b in model.buffers())
    out[case] = (status("VmHWM") - base, weights)
    del model
print(json.dumps(out))
"""
DENSE = {"vocab_size": 8000, "hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8}
EXPERTS = {"vocab_size": 1000, "hidden_size": 256, "num_experts": 32, "moe_intermediate_size": 160}


def as_bin(source: Path, folder: Path) -> None:
    """The same tensors as torch.save writes them, experts apart."""
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    torch.save(load_file(source / "model.safetensors"), folder / "pytorch_model.bin")


def write_cases(root: Path, layers: int, dense: dict, experts: dict) -> None:
    llama = real_llama(torch.bfloat16, **dense, num_hidden_layers=layers)
    llama.save_pretrained(root / "bfloat16")
    llama.save_pretrained(root / "shards", max_shard_size="20MB")
    (root / "bin").mkdir()
    write_bin(llama, root / "bin")
    llama.float().save_pretrained(root / "float32")
    moe = real_moe(torch.bfloat16, **experts, num_hidden_layers=layers)
    moe.save_pretrained(root / "experts-bfloat16")
    as_bin(root / "experts-bfloat16", root / "experts-bin")
    moe.float().save_pretrained(root / "experts-float32")
    ours = AutoModelForCausalLM.from_pretrained(root / "float32")
    save_mindspore_checkpoint(ours, root / "mindspore")
    shape = {"vocab": dense.get("vocab_size", 96), "hidden": dense.get("hidden_size", 64)}
    for name in ("Q8_0", "F32"):
        (root / f"gguf-{name}").mkdir()
        write_gguf(root / f"gguf-{name}" / "m.gguf", name == "Q8_0", layers, ffn=3 * shape["hidden"], **shape)


def test_peak_memory_is_that_of_the_weights(tmp_path):
    small, big = tmp_path / "small", tmp_path / "big"
    write_cases(small, 1, {}, {})
    write_cases(big, 10, DENSE, EXPERTS)
    cases = {}
    for path in sorted(big.iterdir()):
        options = {"gguf_file": "m.gguf"} if path.name.startswith("gguf") else {}
        cases[path.name] = [(str(small / path.name), options), (str(path), options)]
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, json.dumps(cases)], capture_output=True, text=True, timeout=280
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.strip().splitlines()[-1])
    assert all(weights > 90e6 for _, weights in found.values()), found
    ratios = {name: round(grown / weights, 3) for name, (grown, weights) in found.items()}
    print(ratios)
    assert len(ratios) == len(cases) == 10
    assert all(r <= 1.15 for r in ratios.values()), ratios


# ---- fused weights
def converter(operations, sources, target="fused"):
    return core_model_loading.WeightConverter(sources, target, operations)


def file_tensor(t):
    return stream.FileTensor(lambda: t, "f", "t", t.nbytes, mapped=False)


def jobs(tensors, dtype=standin.float32):
    return [stream.Job(file_tensor(t), dtype, True, None) for t in tensors]


@pytest.mark.parametrize("stack", [0, 1, 2])
@pytest.mark.parametrize("join", [0, 1, 2])
def test_fused_weights_are_what_stacking_and_concatenating_gives(stack, join):
    c = converter(
        [core_model_loading.MergeModulelist(dim=stack), core_model_loading.Concatenate(dim=join)], ["b.*.x", "a.*.x"]
    )
    torch.manual_seed(0)
    parts = {p: [torch.randn(3, 5, dtype=torch.bfloat16) for _ in range(4)] for p in ("a.*.x", "b.*.x")}
    c.collected_tensors = {p: jobs(ts) for p, ts in parts.items()}
    expected = torch.cat([torch.stack(parts[p], stack) for p in ("b.*.x", "a.*.x")], join).float()
    made = fuse.fused(c, core_model_loading.Concatenate)()
    assert made.dtype == standin.float32
    assert np.array_equal(bits(made), bits(expected))


def test_parts_of_different_sizes_are_concatenated_in_the_order_of_the_patterns():
    c = converter([core_model_loading.Concatenate(dim=0)], ["q", "k"])
    q, k = torch.randn(4, 3), torch.randn(2, 3)
    c.collected_tensors = {"k": jobs([k]), "q": jobs([q])}
    assert np.array_equal(bits(fuse.fused(c, core_model_loading.Concatenate)()), bits(torch.cat([q, k])))


def test_only_chains_of_stacking_and_concatenating_are_read_in_place():
    merge, join = core_model_loading.MergeModulelist, core_model_loading.Concatenate
    chains = [[merge()], [join()], [merge(), join(1)], [join(), merge()], [core_model_loading.Transpose(0, 1)]]
    chains.append([merge(), core_model_loading.Transpose(1, 2)])
    found = [fuse.fusible(converter(c, "a.*.x"), merge, join) for c in chains]
    assert found == [True, True, True, False, False, False]


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("form", ["safetensors", "shards", "bin"])
def test_half_precision_experts_are_widened(tmp_path, monkeypatch, form, asynchronous):
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", str(int(not asynchronous)))
    real = real_moe(torch.bfloat16)
    real.save_pretrained(tmp_path / "st", max_shard_size="20KB" if form == "shards" else "1GB")
    folder = tmp_path / "st"
    if form == "bin":
        folder = tmp_path / "bin"
        as_bin(tmp_path / "st", folder)
    assert_same_weights(AutoModelForCausalLM.from_pretrained(folder), real.float())


def test_experts_of_a_state_dict_of_the_user(tmp_path):
    real = real_moe()
    real.save_pretrained(tmp_path)
    state = {k: standin.tensor(v.numpy()) for k, v in load_file(tmp_path / "model.safetensors").items()}
    ours = Qwen3MoeForCausalLM.from_pretrained(None, config=real.config, state_dict=state)
    assert_same_weights(ours, real)


@pytest.mark.parametrize("damage", ["shape", "missing"])
def test_experts_that_do_not_fit_are_refused_as_upstream_refuses_them(tmp_path, damage):
    real_moe().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    names = [n for n in state if "layers.1.mlp.experts" in n and "up_proj" in n]
    if damage == "shape":
        state[names[2]] = torch.zeros(5, 7)
    else:
        for n in names:
            del state[n]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    for loader in (AutoModelForCausalLM, transformers.AutoModelForCausalLM):
        with pytest.raises(RuntimeError) as error:
            loader.from_pretrained(tmp_path)
    assert "conversion" in str(error.value)


# ---- reading in pieces
def test_a_tensor_larger_than_the_buffer_is_converted_whole(tmp_path):
    t = torch.randn(300_001).bfloat16()
    save_file({"before": torch.zeros(3), "t": t}, tmp_path / "f.safetensors")
    from hf_ascend import safetensors

    with safetensors.safe_open(tmp_path / "f.safetensors", "pt") as f:
        found = f.get_slice("t")
        assert t.nbytes > 2 * stream._BUFFER
        assert torch.equal(found.read(torch.float32), t.float())
        assert torch.equal(found.read(own=True), t)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(bytes(64))
    region = stream.Region(stream.OpenFile(file), [(0, 64)], torch.float32, (16,))
    file.write_bytes(bytes(40))
    with pytest.raises(OSError, match=r"f ends inside tensor 'w'"):
        region.read_into(torch.empty(16), "w")


# ---- MindSpore's format
def test_entries_that_mindspore_writes_are_found(tmp_path):
    file = str(tmp_path / "m.ckpt")
    values = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float32(3),
        "ints": np.array([1, -(2**40)], np.int64),
        "flags": np.array([True, False]),
    }
    data = [{"name": n, "data": mindspore.Tensor(v)} for n, v in values.items()]
    mindspore.save_checkpoint(data, file, append_dict={"note": "text", "step": 7})
    found = load_mindspore_checkpoint(file)
    assert set(found) == {*values, "step"}
    assert int(found["step"]) == 7
    for name, value in values.items():
        assert found[name].shape == value.shape
        assert np.array_equal(np.asarray(found[name]), value), name


def test_a_tensor_in_pieces_is_put_together(tmp_path):
    from mindspore.train.serialization import Checkpoint

    a = np.arange(12, dtype=np.float32).reshape(4, 3)
    data = b""
    for piece in (a[:1], a[1:]):  # as MindSpore writes a tensor of more than 512 MB
        message = Checkpoint()
        value = message.value.add()
        value.tag, value.tensor.tensor_type, value.tensor.tensor_content = "w", "Float32", piece.tobytes()
        value.tensor.dims.extend(a.shape)
        data += message.SerializeToString()
    (tmp_path / "m.ckpt").write_bytes(data)
    assert np.array_equal(np.asarray(load_mindspore_checkpoint(tmp_path / "m.ckpt")["w"]), a)
    assert [n for _, n in ckpt.index(tmp_path / "m.ckpt")["w"].pieces] == [12, 36]


# ---- GGUF
KINDS = [k for k in real_gguf.GGMLQuantizationType if k.name in ("F32", "F16", "BF16", "Q4_0", "Q8_0")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_values_of_blocks_are_those_of_gguf(kind):
    values = np.random.default_rng(0).standard_normal((700, 1024), np.float32)
    data = real_gguf.quants.quantize(values, kind)
    assert np.array_equal(gguf.dequantize(data, kind), real_gguf.dequantize(data, kind))
    assert np.array_equal(gguf.dequantize(data[0], kind), real_gguf.dequantize(data[0], kind))
    stacked = data.reshape(7, 100, -1)
    assert np.array_equal(gguf.dequantize(stacked, kind), real_gguf.dequantize(stacked, kind))


def test_values_of_blocks_are_used_without_a_copy_once():
    from hf_ascend.transformers.modeling_gguf_pytorch_utils import upstream

    out = gguf.dequantize(np.ones((4, 8), np.float32), KINDS[0])
    part, whole, again = upstream.np.copy(out[:2]), upstream.np.copy(out), upstream.np.copy(out)
    assert np.shares_memory(whole, out)
    assert not np.shares_memory(part, out)
    assert not np.shares_memory(again, out)
    assert np.array_equal(again, out)
