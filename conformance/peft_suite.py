"""peft's own tests, unmodified, on MindSpore: `python conformance/peft_suite.py [--filter lora] [--real]`.

The tests come from the source distribution of the installed peft. They load tiny models from the hub by their ids;
here models of the same architectures with random weights stand for them.

1. `unpack`   the tests, in a working folder, as the package they are written to be.
2. `hub`      a hub cache with a model for each id, read by the tests as if it had been downloaded.
3. `surround` what the tests need beside them: pytest's settings, and a `diffusers` that only has the imported name.
4. `run`      pytest under `hf-ascend run`, or under Python alone (`--real`), and its counts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path
from typing import Any

TESTS = ("test_decoder_models.py", "test_encoder_decoder_models.py", "test_seq_classifier.py")
VOCABULARY = 1024
REVISION = "0" * 40

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "bos_token_id": 1}
_GPT |= {"eos_token_id": 2, "pad_token_id": 0}

# Hub id: (class, its configuration's arguments).
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "peft-internal-testing/tiny-random-OPTForCausalLM": (
        "OPTForCausalLM",
        {**_SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32},
    ),
    "peft-internal-testing/tiny-random-GPT2LMHeadModel": ("GPT2LMHeadModel", _GPT),
    "hf-internal-testing/tiny-random-gpt2": ("GPT2LMHeadModel", _GPT),
    "peft-internal-testing/tiny-random-GPTJForCausalLM": ("GPTJForCausalLM", {**_GPT, "rotary_dim": 4}),
    "trl-internal-testing/tiny-random-LlamaForCausalLM": ("LlamaForCausalLM", _GROUPED),
    "peft-internal-testing/tiny-dummy-qwen2": ("Qwen2ForCausalLM", _GROUPED),
    "trl-internal-testing/tiny-Qwen3ForCausalLM": ("Qwen3ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "hf-internal-testing/tiny-random-Gemma3ForCausalLM": (
        "Gemma3ForCausalLM",
        {**_GROUPED, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 128},
    ),
    "hf-internal-testing/tiny-random-MistralForCausalLM": ("MistralForCausalLM", _GROUPED),
    "trl-internal-testing/tiny-GptOssForCausalLM": (
        "GptOssForCausalLM",
        {**_GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "peft-internal-testing/tiny-random-T5ForConditionalGeneration-calibrated": (
        "T5ForConditionalGeneration",
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 2,
        },
    ),
    "peft-internal-testing/tiny-random-BartForConditionalGeneration": (
        "BartForConditionalGeneration",
        {
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 512,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
    ),
    "peft-internal-testing/tiny-random-BertForSequenceClassification": ("BertForSequenceClassification", _SIZES),
    "peft-internal-testing/tiny-random-RobertaForSequenceClassification": ("RobertaForSequenceClassification", _SIZES),
    "peft-internal-testing/tiny-random-RobertaModel": ("RobertaModel", _SIZES),
    "trl-internal-testing/tiny-LlamaForSequenceClassification-3.2": ("LlamaForSequenceClassification", _GROUPED),
}

CONFTEST = '''
import pytest


def pytest_addoption(parser):
    parser.addoption("--regression", action="store_true", default=False)


@pytest.fixture(autouse=True, scope="session")
def all_models_are_cached():
    """The tests go online for an id's first use, unless they have seen it."""
    from tests import testing_utils

    class Everything(dict):
        def __contains__(self, key):
            return True

        def __missing__(self, key):
            return 1

    testing_utils._HUB_MODEL_ACCESSES = Everything()
'''

SETTINGS = """
[pytest]
markers =
    single_gpu_tests
    multi_gpu_tests
    regression
    bitsandbytes
"""


def unpack(work: Path) -> None:
    """Download the source distribution of the installed peft and put its tests into `work`/tests."""
    release = metadata.version("peft")
    if not (archives := list(work.glob(f"peft-{release}.tar.gz"))):
        pip = [sys.executable, "-m", "pip", "download", f"peft=={release}", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*pip, "--quiet", "--dest", str(work)], check=True)
        archives = list(work.glob(f"peft-{release}.tar.gz"))
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
        shutil.rmtree(work / "tests", ignore_errors=True)
        shutil.copytree(Path(folder) / f"peft-{release}" / "tests", work / "tests")
    (work / "tests" / "__init__.py").touch()


def _tokenizer() -> Any:
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<pad>", "<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def hub(folder: Path) -> None:
    """Make a model for each id of `MODELS`, in the layout of the hub's cache, by real transformers."""
    import torch
    import transformers

    for name, (cls, options) in MODELS.items():
        place = folder / f"models--{name.replace('/', '--')}"
        if (place / "refs" / "main").exists():
            continue
        torch.manual_seed(0)
        kind = getattr(transformers, cls)
        snapshot = place / "snapshots" / REVISION
        kind(kind.config_class(**options)).eval().save_pretrained(snapshot)
        _tokenizer().save_pretrained(snapshot)
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs" / "main").write_text(REVISION)


def surround(work: Path) -> None:
    """Write the files beside the tests."""
    (work / "conftest.py").write_text(CONFTEST)
    (work / "pytest.ini").write_text(SETTINGS)
    (work / "diffusers.py").write_text("class StableDiffusionPipeline:\n    pass\n")


def run(work: Path, tests: list[str], chosen: str, real: bool, options: list[str]) -> dict[str, int]:
    """Run the tests and return how many passed, failed and were skipped."""
    report = work / ("real.xml" if real else "ours.xml")
    start = [sys.executable, "-m"] if real else [sys.executable, "-m", "hf_ascend", "run", "-m"]
    # Assertions that pytest rewrites are imported by pytest itself, past the retargeting.
    command = [*start, "pytest", "--assert=plain", "-p", "no:cacheprovider", "-q", "-k", chosen]
    command += [f"--junitxml={report}", *options, *(f"tests/{t}" for t in tests)]
    environment = {**os.environ, "HF_HUB_CACHE": str(work / "hub"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    subprocess.run(command, cwd=work, env=environment, check=False)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = {child.tag for child in case}
        failed = outcomes & {"failure", "error"}
        counts["failed" if failed else "skipped" if "skipped" in outcomes else "passed"] += 1
    return counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", default=list(TESTS), help="files of peft's tests")
    parser.add_argument("--filter", "-k", default="lora", help="pytest's expression for the tests to run")
    parser.add_argument("--real", action="store_true", help="run them on PyTorch, for comparison")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "peft_suite", help="working folder")
    arguments, options = parser.parse_known_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    unpack(work)
    hub(work / "hub")
    surround(work)
    print(json.dumps(run(work, arguments.tests, arguments.filter, arguments.real, options)))


if __name__ == "__main__":
    main()
