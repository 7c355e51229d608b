"""Models from the hub, through huggingface_hub and real HTTP: cache, revisions, tokens, offline, broken connections.

huggingface_hub reads its environment when it is imported, so each setting has a process of its own.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from hub_server import Hub, commit
from loading_common import real_llama

SETTINGS = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
STEPS = """
import hashlib, json, sys, traceback
from hf_ascend import AutoConfig, AutoModelForCausalLM

def load(repo, **options):
    model = AutoModelForCausalLM.from_pretrained(repo, **options)
    norm = model.model.norm.weight
    return {"value": float(norm[0]), "dtype": str(model.dtype), "sum": float(model.model.embed_tokens.weight.sum())}

out = {}
for name, (repo, options) in json.loads(sys.argv[1]).items():
    try:
        out[name] = load(repo, **options)
    except Exception as error:
        out[name] = {"error": type(error).__name__, "text": str(error), "os": isinstance(error, OSError)}
    print("STEP", name, flush=True)
    sys.stdin.readline()
print("RESULT", json.dumps(out))
"""


def run(hub, home, steps, between=None, **env):
    """Run the steps in a fresh process; returns its results and each step's requests."""
    process = subprocess.Popen(
        [sys.executable, "-c", STEPS, json.dumps(steps)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)} | SETTINGS | env,
    )  # fmt: skip
    asked, begin, result, lines = {}, len(hub.log), None, []
    for line in process.stdout:
        lines.append(line)
        word, _, rest = line.strip().partition(" ")
        if word == "STEP":
            asked[rest], begin = hub.log[begin:], len(hub.log)
            if between:
                between(rest)
            process.stdin.write("\n")
            process.stdin.flush()
        elif word == "RESULT":
            result = json.loads(rest)
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 0, errors[-3000:]
    assert result is not None, (lines, errors[-3000:])
    return result, asked


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    for revision, value in (("main", 1.0), ("v2", 2.0)):
        model = real_llama()
        with torch.no_grad():
            model.model.norm.weight.fill_(value)
        model.save_pretrained(root / "user" / "tiny" / revision, max_shard_size="20KB" if revision == "v2" else "1GB")
    model.save_pretrained(root / "user" / "secret" / "main")
    large = real_llama(torch.bfloat16, vocab_size=12000, hidden_size=512, intermediate_size=64)
    large.save_pretrained(root / "user" / "large" / "main")
    server = Hub(root)
    server.private["user/secret"] = "hf_right"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def online(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    hub.cut["model.safetensors"] = 12_000_000  # of the first file of this name that is longer
    other = str(tmp_path_factory.mktemp("cache"))
    steps = {
        "interrupted": ("user/large", {}),
        "first": ("user/tiny", {}),
        "second": ("user/tiny", {}),
        "revision": ("user/tiny", {"revision": "v2"}),
        "commit": ("user/tiny", {"revision": commit(hub.root / "user" / "tiny" / "v2")}),
        "wrong_revision": ("user/tiny", {"revision": "v9"}),
        "wrong_id": ("user/nothing", {}),
        "no_token": ("user/secret", {}),
        "wrong_token": ("user/secret", {"token": "hf_wrong"}),
        "token": ("user/secret", {"token": "hf_right"}),
        "cache_dir": ("user/tiny", {"cache_dir": other}),
        "local_files_only": ("user/tiny", {"local_files_only": True}),
    }
    result, asked = run(hub, home, steps)
    return {"result": result, "asked": asked, "home": home, "cache": other}


def gets(asked, ending="safetensors"):
    return [r for r in asked if r["method"] == "GET" and r["path"].endswith(ending) and r["status"] in (200, 206)]


def test_a_model_is_downloaded(online):
    assert online["result"]["first"]["value"] == 1.0
    assert len(gets(online["asked"]["first"])) == 1


def test_the_second_call_takes_it_from_the_cache(online):
    assert online["result"]["second"] == online["result"]["first"]
    assert gets(online["asked"]["second"]) == []
    assert gets(online["asked"]["local_files_only"]) == []
    assert online["result"]["local_files_only"] == online["result"]["first"]


def test_a_revision_by_name_and_by_commit(online):
    assert online["result"]["revision"]["value"] == 2.0
    assert online["result"]["commit"]["value"] == 2.0
    assert len(gets(online["asked"]["revision"])) > 2  # it is sharded
    assert gets(online["asked"]["commit"]) == []


def test_wrong_names_are_errors_that_name_them(online):
    for step, words in {"wrong_id": ["user/nothing"], "wrong_revision": ["v9", "user/tiny"]}.items():
        found = online["result"][step]
        assert found["os"], found
        assert all(w in found["text"] for w in words), found


def test_a_private_repository_wants_its_token(online):
    assert online["result"]["token"]["value"] == 2.0
    for step in ("no_token", "wrong_token"):
        assert online["result"][step]["os"]
        assert "user/secret" in online["result"][step]["text"]


def test_an_interrupted_download_goes_on_where_it_stopped(online, hub):
    from safetensors.torch import load_file

    got = gets(online["asked"]["interrupted"], "large/resolve/main/model.safetensors") or gets(
        online["asked"]["interrupted"]
    )
    assert [r["range"] for r in got] == [None, "bytes=10485760-"]
    stored = load_file(hub.root / "user" / "large" / "main" / "model.safetensors")["model.embed_tokens.weight"]
    found = online["result"]["interrupted"]
    assert found["dtype"] == "torch.float32"
    assert found["sum"] == pytest.approx(float(stored.float().sum()), rel=1e-3)


def test_cache_dir(online):
    assert online["result"]["cache_dir"]["value"] == 1.0
    assert any(name.startswith("models--user--tiny") for name in os.listdir(online["cache"]))


def test_offline_only_the_cache_is_used(online, hub):
    steps = {
        "cached": ("user/tiny", {}),
        "cached_shards": ("user/tiny", {"revision": "v2"}),
        "absent": ("user/new", {}),
    }
    result, asked = run(hub, online["home"], steps, HF_HUB_OFFLINE="1")
    assert result["cached"]["value"] == 1.0
    assert result["cached_shards"]["value"] == 2.0
    assert result["absent"]["os"]
    assert "user/new" in result["absent"]["text"]
    assert sum(asked.values(), []) == []
