"""Uploads to the hub, through huggingface_hub and real HTTP: what arrives, and what a failure leaves behind."""

import json
import os
import subprocess
import sys

import pytest

from hub_server import Hub, commit, files_of
from loading_common import real_llama

SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0", "NO_PROXY": "*", "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": "hf_writer",
}  # fmt: skip
STEPS = '''
import hashlib, json, os, sys, threading
import numpy as np
import huggingface_hub, tokenizers, transformers
import hf_ascend
from hf_ascend import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, torch

source, work = sys.argv[1:]
out = {}

def digest(model):
    """One hash of all names and bits of a model's state."""
    h = hashlib.sha256()
    for name, t in model.state_dict().items():
        h.update(name.encode() + np.ascontiguousarray(t.detach().numpy()).tobytes())
    return h.hexdigest()

def step(name, run):
    try:
        out[name] = run()
    except Exception as error:
        texts, e = [], error
        while e is not None:
            texts.append(f"{type(e).__name__}: {e}")
            e = e.__cause__
        out[name] = {"error": texts}
    print("STEP", name, flush=True)
    sys.stdin.readline()

def back(repo, **options):
    mine = AutoModelForCausalLM.from_pretrained(repo, cache_dir=work + "/ours", **options)
    real = transformers.AutoModelForCausalLM.from_pretrained(repo, cache_dir=work + "/real", **options)
    return [digest(mine), digest(real)]

model = AutoModelForCausalLM.from_pretrained(source)
out["digest"] = digest(model)
words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "hello": 1, "world": 2}, unk_token="[UNK]"))
words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")

dead = threading.Thread(target=lambda: step_quietly("dead", lambda: str(model.push_to_hub("user/dead"))))
def step_quietly(name, run):
    try:
        out[name] = run()
    except Exception as error:
        out[name] = {"error": [f"{type(error).__name__}: {error}", repr(error.__cause__)]}
huggingface_hub.utils.is_jinja_available()  # asked first by two threads at once, it tells one of them no
dead.start()

step("model", lambda: str(model.push_to_hub("user/pushed")))
step("tokenizer", lambda: str(tokenizer.push_to_hub("user/pushed", commit_message="words")))
step("config", lambda: str(model.config.push_to_hub("user/config")))
step("read", lambda: back("user/pushed"))
step("read_tokenizer", lambda: [
    list(t.from_pretrained("user/pushed", cache_dir=work + "/t")("hello world moon")["input_ids"])
    for t in (AutoTokenizer, transformers.AutoTokenizer)
])
step("read_config", lambda: AutoConfig.from_pretrained("user/config").hidden_size)
step("again", lambda: model.push_to_hub("user/pushed").oid)
step("shards", lambda: str(model.push_to_hub("user/shards", max_shard_size="20KB", token="hf_writer")))
step("read_shards", lambda: back("user/shards"))
step("saved", lambda: model.save_pretrained(work + "/saved", push_to_hub=True, repo_id="user/saved"))
step("read_saved", lambda: back("user/saved"))
step("own_name", lambda: model.save_pretrained(work + "/named", push_to_hub=True, commit_message="mine"))
step("branch", lambda: str(model.push_to_hub("user/pushed", revision="v2", tags=["tiny"])))
step("read_branch", lambda: back("user/pushed", revision="v2"))
with torch.no_grad():
    model.model.norm.weight.fill_(2.0)
out["changed"] = digest(model)
step("wrong_token", lambda: model.push_to_hub("user/pushed", token="hf_wrong"))
step("no_rights", lambda: model.push_to_hub("other/theirs"))
step("no_rights_save", lambda: model.save_pretrained(work + "/refused", push_to_hub=True, repo_id="other/theirs"))
step("broken_commit", lambda: model.save_pretrained(work + "/saved", push_to_hub=True, repo_id="user/saved"))
step("local", lambda: digest(AutoModelForCausalLM.from_pretrained(work + "/saved")))
step("read_after_failures", lambda: back("user/pushed") + back("user/saved"))
step("broken_once", lambda: str(model.push_to_hub("user/pushed")))
step("read_changed", lambda: back("user/pushed"))
dead.join()
print("RESULT", json.dumps(out))
'''


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The outcome of all steps, each step's requests, the hub, and what the hub held when each step had ended."""
    root, work = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("work")
    source = tmp_path_factory.mktemp("source")
    real_llama().save_pretrained(source)
    real_llama(vocab_size=64).save_pretrained(root / "other" / "theirs" / "main")
    hub = Hub(root)
    hub.writers = {"hf_writer": "user", "hf_other": "other"}
    hub.drops["PUT", "user/dead.git"] = 99
    process = subprocess.Popen(
        [sys.executable, "-c", STEPS, str(source), str(work)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(work / "home")} | SETTINGS,
    )  # fmt: skip
    asked, held, begin, result = {}, {}, 0, None
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word == "STEP":
            asked[rest], begin = [r for r in hub.log[begin:] if "user/dead" not in r["path"]], len(hub.log)
            held[rest] = {str(p.relative_to(root)): files_of(p) for p in root.glob("*/*/[!.]*")}
            if rest == "no_rights_save":
                hub.drops["POST", "user/saved/commit"] = 1
            if rest == "read_after_failures":
                hub.objects.clear()  # so that the file is sent again
                hub.drops["PUT", "user/pushed.git"] = 1
            process.stdin.write("\n")
            process.stdin.flush()
        elif word == "RESULT":
            result = json.loads(rest)
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 0, errors[-3000:]
    assert result is not None, errors[-3000:]
    yield {"result": result, "asked": asked, "held": held, "hub": hub, "work": work, "source": source}
    hub.shutdown()
    hub.server_close()


def sent(requests):
    return [r for r in requests if r["method"] in ("PUT", "POST") and r["path"].split("/")[-2] in ("lfs", "commit")]


def test_a_pushed_model_is_read_back_with_its_bits_by_both(pushed):
    result = pushed["result"]
    assert result["model"].startswith(pushed["hub"].url + "/user/pushed/commit/")
    assert result["read"] == [result["digest"]] * 2
    names = set(pushed["held"]["model"]["user/pushed/main"])
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= names
    stored = pushed["held"]["model"]["user/pushed/main"]["model.safetensors"]
    assert stored == (pushed["source"] / "model.safetensors").read_bytes()


def test_tokenizer_and_config_are_pushed(pushed):
    assert pushed["result"]["read_tokenizer"] == [[1, 2, 0]] * 2
    assert "model.safetensors" in pushed["held"]["tokenizer"]["user/pushed/main"]  # a commit adds to what is there
    assert "tokenizer.json" in pushed["held"]["tokenizer"]["user/pushed/main"]
    assert pushed["result"]["read_config"] == 32
    assert set(pushed["held"]["config"]["user/config/main"]) == {"README.md", "config.json"}


def test_shards_arrive_with_their_index(pushed):
    assert pushed["result"]["read_shards"] == [pushed["result"]["digest"]] * 2
    files = pushed["held"]["shards"]["user/shards/main"]
    index = json.loads(files["model.safetensors.index.json"])
    assert len(set(index["weight_map"].values())) > 2
    assert set(index["weight_map"].values()) <= set(files)


def test_what_did_not_change_is_not_sent_again(pushed):
    assert sent(pushed["asked"]["again"]) == []
    assert pushed["held"]["again"] == pushed["held"]["read_config"]
    assert pushed["result"]["again"] in pushed["result"]["tokenizer"]


def test_save_pretrained_pushes_what_it_saves(pushed):
    result, work = pushed["result"], pushed["work"]
    assert result["saved"] is None
    assert result["read_saved"] == [result["digest"]] * 2
    local = files_of(work / "named")
    assert result["own_name"] is None
    assert pushed["held"]["own_name"]["user/named/main"] == local
    assert "model.safetensors" in local


def test_a_branch(pushed):
    assert pushed["result"]["read_branch"] == [pushed["result"]["digest"]] * 2
    held = pushed["held"]["branch"]
    assert b"tiny" in held["user/pushed/v2"]["README.md"]
    assert held["user/pushed/main"] == pushed["held"]["own_name"]["user/pushed/main"]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("wrong_token", ["401", "user/pushed"]),
        ("no_rights", ["403", "other/theirs"]),
        ("no_rights_save", ["403", "other/theirs"]),
    ],
)
def test_a_refusal_says_what_was_refused_and_changes_nothing(pushed, step, words):
    text = " ".join(pushed["result"][step]["error"])
    assert all(w in text for w in words), text
    assert sent([r for r in pushed["asked"][step] if r["status"] == 200]) == []
    assert pushed["held"][step] == pushed["held"]["read_branch"]


def test_a_broken_upload_leaves_the_earlier_commit_and_a_whole_local_folder(pushed):
    result = pushed["result"]
    told = result["broken_commit"]["error"][0]
    assert told.startswith("ConnectionError: The upload to user/saved broke off"), told
    assert pushed["held"]["broken_commit"] == pushed["held"]["read_branch"]
    assert result["local"] == result["changed"]
    assert result["read_after_failures"] == [result["digest"]] * 4


def test_an_upload_that_keeps_breaking_names_its_file_and_commits_nothing(pushed):
    told = pushed["result"]["dead"]["error"][0]
    assert told.startswith("ConnectionError: The upload to user/dead broke off"), told
    assert "model.safetensors" in told
    assert files_of(pushed["hub"].root / "user" / "dead" / "main") == {}
    assert len(pushed["hub"].requests("PUT", "", 0)) > 2


def test_an_upload_that_broke_once_is_sent_again(pushed):
    result, puts = pushed["result"], [r for r in pushed["asked"]["broken_once"] if r["method"] == "PUT"]
    assert [r["status"] for r in puts] == [0, 200]
    assert result["read_changed"] == [result["changed"]] * 2
    assert commit(pushed["hub"].root / "user" / "pushed" / "main") in result["broken_once"]
