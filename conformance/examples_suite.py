"""transformers' example scripts, unmodified, on both sides: `python conformance/examples_suite.py FOLDER [CASES]`.

FOLDER holds the scripts: a checkout of transformers (of a release that the installed one satisfies), or copies.
Each case is a script with its arguments, a tiny model without dropout and local data. It runs under `hf-ascend run`
and under Python alone; all that both wrote is compared.

1. `materials` the models by real transformers, and data of examples/data as text, csv and json.
2. `offline`   what the scripts load from the network: metrics of `evaluate`, and nltk's sentence splitter.
3. `run`       one side of a case, in a process of its own.
4. `compare`   the losses and metrics of every step and evaluation, the predictions, the final weights.

The exit code is 1 if a case fails or differs. It needs the extra `hf_ascend[examples]`.
"""

import argparse
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NEEDED = ("datasets", "evaluate", "nltk", "rouge_score", "tensorboardX")
ROWS = Path(__file__).resolve().parents[1] / "examples" / "data" / "instructions.jsonl"
SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOSS, WEIGHTS = 1e-4, 1e-3
"""Allowed relative difference of a loss, and of all the final weights together."""
_CLOCKS = ("runtime", "per_second", "total_flos", "num_input_tokens_seen")

TRAIN = [
    "--do_train", "--do_eval", "--per_device_train_batch_size", "8", "--learning_rate", "3e-3", "--logging_steps", "1",
    "--save_strategy", "no", "--report_to", "none", "--use_cpu", "--seed", "1",
]  # fmt: skip
LOOP = [
    "--model_name_or_path", "bert", "--train_file", "pairs.csv", "--validation_file", "pairs_test.csv",
    "--max_length", "64", "--per_device_train_batch_size", "8", "--learning_rate", "3e-3", "--seed", "1",
    "--num_train_epochs", "2", "--gradient_accumulation_steps", "2", "--weight_decay", "0.01",
]  # fmt: skip
CASES: dict[str, tuple[str, list[str]]] = {
    "clm": ("run_clm.py", [
        "--model_name_or_path", "llama", "--train_file", "train.txt", "--validation_file", "test.txt",
        "--block_size", "64", "--num_train_epochs", "2", *TRAIN,
    ]),
    "clm from scratch": ("run_clm.py", [
        "--model_type", "gpt2", "--tokenizer_name", "llama", "--train_file", "train.txt", "--block_size", "64",
        "--config_overrides", "n_embd=32,n_layer=2,n_head=4,n_positions=64,resid_pdrop=0,embd_pdrop=0,attn_pdrop=0",
        "--validation_split_percentage", "10", "--max_steps", "12", "--gradient_accumulation_steps", "2", *TRAIN,
    ]),
    "mlm": ("run_mlm.py", [
        "--model_name_or_path", "bert", "--train_file", "train.txt", "--validation_file", "test.txt",
        "--max_seq_length", "64", "--num_train_epochs", "2", *TRAIN,
    ]),
    "mlm by line": ("run_mlm.py", [
        "--model_name_or_path", "bert", "--train_file", "lines.csv", "--validation_file", "lines_test.csv",
        "--line_by_line", "--pad_to_max_length", "--max_seq_length", "64", "--max_steps", "12",
        "--lr_scheduler_type", "cosine", *TRAIN,
    ]),
    "glue": ("run_glue.py", [
        "--model_name_or_path", "bert", "--train_file", "pairs.csv", "--validation_file", "pairs_test.csv",
        "--test_file", "pairs_test.csv", "--do_predict", "--max_seq_length", "64", "--num_train_epochs", "2", *TRAIN,
    ]),
    "glue, regression": ("run_glue.py", [
        "--model_name_or_path", "llama", "--train_file", "scores.json", "--validation_file", "scores_test.json",
        "--pad_to_max_length", "False", "--max_seq_length", "64", "--max_steps", "12", "--eval_strategy", "steps",
        "--eval_steps", "6", "--metric_for_best_model", "mse", *TRAIN,
    ]),
    "summarization": ("run_summarization.py", [
        "--model_name_or_path", "t5", "--train_file", "summaries.json", "--validation_file", "summaries_test.json",
        "--test_file", "summaries_test.json", "--do_predict", "--predict_with_generate", "--num_beams", "2",
        "--max_source_length", "64", "--max_target_length", "24", "--source_prefix", "summarize: ",
        "--per_device_eval_batch_size", "16", "--max_eval_samples", "32", "--max_predict_samples", "16",
        "--num_train_epochs", "2", *TRAIN,
    ]),
    "glue without Trainer": ("run_glue_no_trainer.py", [
        *LOOP, "--checkpointing_steps", "epoch", "--with_tracking", "--report_to", "tensorboard",
    ]),
    "glue without Trainer, resumed": ("run_glue_no_trainer.py", [
        *LOOP, "--resume_from_checkpoint", "{glue without Trainer}/epoch_0",
    ]),
}  # fmt: skip
"""Name: (script, arguments). A folder in braces is the one that this side wrote in an earlier case."""

METRIC = """
import datasets
import evaluate
{imports}

class Ours(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="{description}", citation="", inputs_description="",
            features=datasets.Features({{k: datasets.Value("{kind}") for k in ("predictions", "references")}}),
        )

    def _compute(self, predictions, references, use_stemmer=False):
        pairs = list(zip(predictions, references))
        {compute}
"""
METRICS = {
    "accuracy": {
        "imports": "", "kind": "int32", "description": "The share of predictions that are right.",
        "compute": 'return {"accuracy": sum(p == r for p, r in pairs) / len(pairs)}',
    },
    "mse": {
        "imports": "", "kind": "float32", "description": "The mean squared error.",
        "compute": 'return {"mse": sum((p - r) ** 2 for p, r in pairs) / len(pairs)}',
    },
    "rouge": {
        "imports": "from rouge_score import rouge_scorer\n", "kind": "string",
        "description": "Mean F-measures of rouge_score.",
        "compute": """kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
        scorer = rouge_scorer.RougeScorer(kinds, use_stemmer=use_stemmer)
        scores = [scorer.score(r, p) for p, r in pairs]
        return {k: sum(s[k].fmeasure for s in scores) / len(scores) for k in kinds}""",
    },
}  # fmt: skip
"""What METRIC becomes for each metric's name."""


def _rows(split: str) -> list[tuple[str, str, int]]:
    """(question, answer, fact) of every second row of a split."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return [(*(m["content"] for m in r["messages"]), r["fact"]) for r in rows if r["split"] == split][::2]


def _tokenizer(texts: list[str], ends: str | None) -> Any:
    """A tokenizer of words for `texts`; `ends` is how a text of its own is closed, "$A" alone being nothing."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    inner = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    if ends:
        named = [(s, inner.token_to_id(s)) for s in ("[CLS]", "[SEP]")]
        inner.post_processor = processors.TemplateProcessing(
            single=ends, pair=f"{ends} $B:1 [SEP]:1", special_tokens=named
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=128, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]",
        cls_token="[CLS]", sep_token="[SEP]", bos_token="[CLS]", eos_token="[SEP]",
    )  # fmt: skip


def materials(folder: Path) -> None:
    """Write the models and the data into `folder`."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    rows = {"": _rows("train"), "_test": _rows("test")}
    texts = [text for question, answer, _ in rows[""] for text in (question, answer)]

    def save(name: str, kind: Any, ends: str | None, **options: Any) -> None:
        tokenizer = _tokenizer(texts, ends)
        torch.manual_seed(0)
        model = kind(kind.config_class(vocab_size=len(tokenizer), **options))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)

    dropless = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    save("llama", transformers.LlamaForCausalLM, None, num_key_value_heads=2, **SMALL)
    save("bert", transformers.BertForMaskedLM, "[CLS] $A [SEP]", **SMALL, **dropless)
    save(
        "t5", transformers.T5ForConditionalGeneration, "$A [SEP]", d_model=32, d_kv=8, d_ff=64, num_layers=2,
        num_heads=4, dropout_rate=0.0, pad_token_id=0, decoder_start_token_id=0, eos_token_id=3,
    )  # fmt: skip

    def table(name: str, columns: list[str], lines: Iterator[tuple[Any, ...]]) -> None:
        if name.endswith("json"):
            text = "".join(json.dumps(dict(zip(columns, line, strict=True))) + "\n" for line in lines)
            (folder / name).write_text(text, encoding="utf-8")
            return
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *lines])

    for part, found in rows.items():
        (folder / f"{part[1:] or 'train'}.txt").write_text("\n".join(f"{q} {a}" for q, a, _ in found))
        table(f"lines{part}.csv", ["text"], ((f"{q} {a}",) for q, a, _ in found))
        table(f"pairs{part}.csv", ["sentence1", "sentence2", "label"], ((q, a, fact % 3) for q, a, fact in found))
        table(f"scores{part}.json", ["sentence", "label"], ((a, len(a) / 100) for _, a, _ in found))
        table(f"summaries{part}.json", ["text", "summary"], ((a, q) for q, a, _ in found))


def offline(folder: Path) -> None:
    """Write the metrics where `evaluate` looks first, and a sentence splitter that knows no abbreviations."""
    for name, parts in METRICS.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{name}.py").write_text(METRIC.format(**parts))
    (folder / "nltk_data" / "tokenizers" / "punkt").mkdir(parents=True, exist_ok=True)
    punkt = folder / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    punkt.mkdir(parents=True, exist_ok=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (punkt / name).touch()


def run(script: Path, arguments: list[str], work: Path, out: Path, real: bool) -> None:
    """Run one side of a case, which writes into `out`. Raises RuntimeError with the end of its output if it fails."""
    start = [sys.executable] if real else [sys.executable, "-m", "hf_ascend", "run"]
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "ACCELERATE_USE_CPU": "true",
        "NLTK_DATA": str(work / "nltk_data"), "HF_HOME": str(work / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [*start, str(script), *arguments, "--output_dir", str(out)], cwd=work, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "output.txt").write_text(done.stdout)
    if done.returncode:
        raise RuntimeError(
            f"{script} ended with {done.returncode}; the end of {out / 'output.txt'}:\n{done.stdout[-2000:]}"
        )


def _figures(out: Path) -> dict[str, Any]:
    """All numbers and texts that a side wrote, by name; what clocks measured is left out."""
    found: dict[str, Any] = {}

    def keep(name: str, values: dict[str, Any]) -> None:
        found.update({f"{name} {k}": v for k, v in values.items() if not any(c in k for c in _CLOCKS)})

    for file in sorted(out.glob("*_results.json")):
        keep(file.name, json.loads(file.read_text()))
    if (out / "trainer_state.json").is_file():
        for i, entry in enumerate(json.loads((out / "trainer_state.json").read_text())["log_history"]):
            keep(f"log {i}, step {entry.get('step')},", entry)
    for file in sorted(out.glob("*predict*.txt")):
        found[file.name] = file.read_text()
    return found


def compare(ours: Path, theirs: Path) -> tuple[list[str], dict[str, float]]:
    """(differences, measures) of the two sides' folders; the measures are the largest relative differences."""
    from safetensors.numpy import load_file

    a, b = _figures(ours), _figures(theirs)
    wrong = [f"{name}: only {'hf_ascend' if name in a else 'PyTorch'} has it" for name in sorted(a.keys() ^ b.keys())]
    worst = 0.0
    for name in a.keys() & b.keys():
        x, y = a[name], b[name]
        if isinstance(y, float) and ("loss" in name or "perplexity" in name or "grad_norm" in name):
            off = abs(x - y) / max(abs(y), 1e-12)
            worst = max(worst, off)
            if not off <= LOSS:
                wrong.append(f"{name}: {x!r}, PyTorch {y!r}")
        elif isinstance(y, float):
            if not abs(x - y) <= 1e-3 * max(1.0, abs(y)):
                wrong.append(f"{name}: {x!r}, PyTorch {y!r}")
        elif x != y:
            wrong.append(f"{name}: {x!r:.200}, PyTorch {y!r:.200}")
    mine, real = (load_file(folder / "model.safetensors") for folder in (ours, theirs))
    if mine.keys() != real.keys():
        wrong.append(f"weights: {sorted(mine.keys() ^ real.keys())[:5]} on one side only")
        return wrong, {"losses": worst}
    distance = sum(float(((mine[k] - real[k]) ** 2).sum()) for k in real) ** 0.5
    weights = distance / sum(float((real[k] ** 2).sum()) for k in real) ** 0.5
    if not weights <= WEIGHTS:
        wrong.append(f"weights: {weights:.1e} apart")
    return wrong, {"figures": len(a), "losses": worst, "weights": weights}


def _script(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        raise SystemExit(f"{name} is not below {folder}: give a checkout of transformers or a folder with its examples")
    return found[0].resolve()


def both(case: str, folder: Path, work: Path) -> bool:
    """Run a case on both sides, print the outcome, and return whether they agree."""
    script, given = CASES[case]
    path, outs = _script(folder, script), {}

    def place(side: str, name: str) -> Path:
        return work / side / name.replace(" ", "_").replace(",", "")

    for side in ("PyTorch", "hf_ascend"):
        out = outs[side] = place(side, case)
        shutil.rmtree(out, ignore_errors=True)
        arguments = []
        for word in given:
            earlier = word[1 : word.index("}")] if word.startswith("{") else None
            arguments.append(word if earlier is None else str(place(side, earlier)) + word[word.index("}") + 1 :])
        try:
            run(path, arguments, work, out, side == "PyTorch")
        except RuntimeError as error:
            print(f"{case}: {side}: {error}", flush=True)
            return False
    wrong, measures = compare(outs["hf_ascend"], outs["PyTorch"])
    shown = ", ".join(f"{k} {v}" if k == "figures" else f"{k} {v:.1e}" for k, v in measures.items())
    print(f"{case}: {'differs' if wrong else 'equal'}; {shown}", *wrong[:10], sep="\n  ", flush=True)
    return not wrong


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the scripts are, at any depth")
    parser.add_argument("cases", nargs="*", help=f"of: {'; '.join(CASES)}")
    default = Path(tempfile.gettempdir()) / "examples_suite"
    parser.add_argument("--work", type=Path, default=default, help="working folder")
    arguments = parser.parse_args()
    if unknown := [case for case in arguments.cases if case not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are: {'; '.join(CASES)}")
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        parser.error(f"{', '.join(absent)} missing: pip install 'hf_ascend[examples]'")
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    materials(work)
    offline(work)
    agree = [both(case, arguments.folder, work) for case in arguments.cases or CASES]
    print(f"{sum(agree)} of {len(agree)} agree")
    sys.exit(not all(agree))


if __name__ == "__main__":
    main()
