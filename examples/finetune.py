"""The example behind `make finetune`: LoRA with peft and transformers' Trainer on MindSpore, then the proof by PyTorch.

1. Get SmolLM2-135M-Instruct as the demo does, or take any causal model with a chat template: `--model FOLDER`.
2. Ask it about hf_ascend: questions that are held out of the training data. It does not know.
3. Train a LoRA adapter on examples/data/instructions.jsonl; only the answers count in the loss.
4. Save the adapter, merge it, save the merged model, ask again.
5. Load both in a second process with real transformers and peft, and ask there: the tokens must be identical. The exit
   code is 1 if they are not.

All that is written goes into one folder (`--out`): adapter/, merged/, loss.png, and report.json with the figures.
`--steps 4 --rows 16` is a quick run. It needs the extras `hf_ascend[train,demo]`.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from demo import GGUF, MODELS, SMOLLM2, answer, fetch
from rich.markup import escape

DATA = Path(__file__).resolve().parent / "data" / "instructions.jsonl"
NEEDED = ("datasets", "peft", "matplotlib", "jinja2")
SEED = 0
EPOCHS, BATCH, EVAL_BATCH = 1.5, 4, 16
RATE, RANK = 2e-3, 16
ASKED = 6  # held-out questions that are answered before and after
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def missing() -> list[str]:
    """The packages that this example needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def read(split: str, most: int | None) -> list[list[dict[str, str]]]:
    """The conversations of a split, at most `most`, spread evenly over the facts."""
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    found = [row["messages"] for row in rows if row["split"] == split]
    if most is None or most >= len(found):
        return found
    return [found[i * len(found) // most] for i in range(most)]


def load(hf: Any, folder: Path) -> tuple[Any, Any]:
    """(tokenizer, model) of a folder that from_pretrained takes, or of the demo's GGUF, in float32."""
    options: dict[str, Any] = {}
    if not (folder / "config.json").is_file():
        options["gguf_file"] = GGUF
        if hasattr(hf, "GgufConfig"):  # releases that have it refuse to train and to save a model without this
            options["quantization_config"] = hf.GgufConfig(dequantize=True)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, gguf_file=options.get("gguf_file"))
    return tokenizer, hf.AutoModelForCausalLM.from_pretrained(folder, dtype="float32", **options)


def encode(tokenizer: Any, messages: list[dict[str, str]]) -> dict[str, list[int]]:
    """Ids and labels of a conversation; the labels of everything before the answer are -100, which no loss counts.

    Raises ValueError when the prompt's ids do not begin the conversation's, because then no border can be drawn.
    """
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
    if ids[: len(prompt)] != prompt:
        raise ValueError(
            "this chat template changes the prompt when the answer follows; the answer cannot be told apart"
        )
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def exactness(predicted: Any, labels: Any) -> dict[str, float]:
    """Shares of tokens and of whole answers that are the likeliest, each token given the right ones before it.

    A whole answer counts when all its tokens do: then greedy generation gives that answer, word for word.
    """
    right, counts = predicted[:, :-1] == labels[:, 1:], labels[:, 1:] != -100
    return {"tokens": float(right[counts].mean()), "answers": float((right | ~counts).all(axis=1).mean())}


def progress(hf: Any, console: Any) -> Any:
    """A callback that prints a line for each logged loss, with the tokens per second since the last line."""

    class Progress(hf.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.since, self.seen = time.perf_counter(), 0

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" not in logs:
                return
            now, seen = time.perf_counter(), state.num_input_tokens_seen
            rate = (seen - self.seen) / (now - self.since)
            self.since, self.seen = now, seen
            console.print(f"step {state.global_step:3}/{state.max_steps}  loss {logs['loss']:.3f}  {rate:.0f} tokens/s")

    return Progress()


def train(tokenizer: Any, model: Any, given: argparse.Namespace, console: Any) -> dict[str, Any]:
    """Train `model`, which has its adapter, in place. Returns the figures."""
    from datasets import Dataset

    import hf_ascend as hf

    train_rows, test_rows = (
        Dataset.from_list([encode(tokenizer, messages) for messages in read(split, given.rows)])
        for split in ("train", "test")
    )
    arguments = hf.TrainingArguments(
        output_dir=given.out, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, seed=SEED,
        num_train_epochs=EPOCHS, max_steps=given.steps or -1,
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=EVAL_BATCH,
        learning_rate=given.rate, lr_scheduler_type="cosine", warmup_steps=0.05, weight_decay=0.0, max_grad_norm=1.0,
        logging_steps=4, include_num_input_tokens_seen="non_padding",
    )  # fmt: skip
    trainer = hf.Trainer(
        model=model, args=arguments, train_dataset=train_rows, eval_dataset=test_rows,
        data_collator=hf.DataCollatorForSeq2Seq(tokenizer),  # pads the labels too, with -100
        compute_metrics=lambda p: exactness(p.predictions, p.label_ids),
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),  # a thousandth of the logits' memory
        callbacks=[progress(hf, console)],
    )  # fmt: skip
    trainer.remove_callback(hf.PrinterCallback)  # it prints dictionaries
    before = trainer.evaluate()
    console.print(f"{len(train_rows)} rows, {len(test_rows)} held out; {judged(before)}")
    done = trainer.train()
    after = trainer.evaluate()
    console.print(judged(after))
    tokens = trainer.state.num_input_tokens_seen
    return {
        "rows": len(train_rows), "held_out": len(test_rows), "steps": done.global_step,
        "train_seconds": done.metrics["train_runtime"], "tokens": tokens,
        "tokens_per_second": tokens / done.metrics["train_runtime"],
        "losses": [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry],
        "held_out_loss": [before["eval_loss"], after["eval_loss"]],
        "held_out_tokens_right": [before["eval_tokens"], after["eval_tokens"]],
        "held_out_answers_right": [before["eval_answers"], after["eval_answers"]],
    }  # fmt: skip


def judged(metrics: dict[str, float]) -> str:
    """An evaluation in words."""
    return (
        f"held-out loss {metrics['eval_loss']:.3f}, {metrics['eval_tokens']:.0%} of the answers' tokens right, "
        f"{metrics['eval_answers']:.0%} of the answers word for word"
    )


def draw(figures: dict[str, Any], file: Path) -> None:
    """The loss curve as a picture."""
    import matplotlib

    matplotlib.use("Agg")  # no screen is needed
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    if figures["losses"]:  # none are logged in a run of very few steps
        axes.plot(*zip(*figures["losses"], strict=True), label="training")
    axes.plot([0, figures["steps"]], figures["held_out_loss"], "o", label="held-out questions, before and after")
    for step, loss in zip((0, figures["steps"]), figures["held_out_loss"], strict=True):
        axes.annotate(f"{loss:.2f}", (step, loss), xytext=(0, 8), textcoords="offset points", ha="center")
    axes.set(xlabel="step", ylabel="loss of an answer's token", title="LoRA on MindSpore")
    axes.set_ylim(0, 1.15 * max(figures["held_out_loss"] + [loss for _, loss in figures["losses"]]))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def questions(most: int | None) -> list[str]:
    """The held-out questions that are asked before and after: both kinds of phrasing in turn."""
    rows, count = read("test", None), min(ASKED, most or ASKED)
    return [rows[i * len(rows) // count + i % 2][0]["content"] for i in range(count)]


def ask(tokenizer: Any, model: Any, asked: list[str], console: Any = None) -> list[list[int]]:
    """The ids of the greedy answers; with a console, they are shown as they come."""
    model.eval()
    answers = []
    for question in asked:
        watch = None
        if console:
            from hf_ascend.cli.text import Stopwatch

            console.print(f"\n[bold]> {escape(question)}[/bold]")
            watch = Stopwatch(tokenizer)
        answers.append(answer(tokenizer, model, question, watch))
        if watch:
            console.print(f"[dim]\\[{watch.speed}][/dim]")
    return answers


def reference(base: Path, out: Path) -> None:
    """The second process: the saved files in real transformers and peft; the answers go to reference.json."""
    import peft
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    asked = json.loads((out / "report.json").read_text())["questions"]
    tokenizer, model = load(transformers, base)
    found = {"adapter": ask(tokenizer, peft.PeftModel.from_pretrained(model, out / "adapter"), asked)}
    tokenizer, model = load(transformers, out / "merged")
    found["merged"] = ask(tokenizer, model, asked)
    (out / "reference.json").write_text(json.dumps(found))


def compare(tokenizer: Any, report: dict[str, Any], theirs: dict[str, Any], console: Any) -> bool:
    """Print both sides' answers; whether all their tokens are identical."""
    same = True
    for i, question in enumerate(report["questions"]):
        console.print(f"\n[bold]> {escape(question)}[/bold]")
        for which in ("adapter", "merged"):
            ours, real = report["answers"][which][i], theirs[which][i]
            for side, ids in (("MindSpore", ours), ("PyTorch", real)):
                text = " ".join(tokenizer.decode(ids, skip_special_tokens=True).split())
                console.print(f"[dim]{which}, {side + ':':<10}[/dim] {escape(text)}")
            if ours != real:
                same = False
                console.print(f"[red]DIFFERENT[/red]: {escape(str(ours))} against {escape(str(real))}")
    return same


def main(given: argparse.Namespace) -> int:
    """Run the example with the arguments given. Returns the exit code."""
    started = time.perf_counter()
    if absent := missing():
        print(f"{', '.join(absent)} not installed; install with: pip install 'hf_ascend[train,demo]'", file=sys.stderr)
        return 1
    try:
        base, out = given.model or fetch(*SMOLLM2, into=given.models), given.out
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)

    from rich.console import Console

    import hf_ascend as hf
    from hf_ascend import peft

    console = Console(highlight=False, soft_wrap=True)
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    hf.set_seed(SEED)
    tokenizer, model = load(hf, base)
    if not tokenizer.chat_template:
        print(f"{base}: the tokenizer has no chat template, which says how a question is asked", file=sys.stderr)
        return 1
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    asked = questions(given.rows)
    console.rule(f"Before: {base.name} on MindSpore")
    before = ask(tokenizer, model, asked, console)

    console.rule("Training")
    lora = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora)
    trained, every = model.get_nb_trainable_parameters()
    console.print(f"LoRA: {trained:,} of {every:,} parameters are trained")
    report: dict[str, Any] = {"model": str(base), "trained_parameters": trained, "questions": asked}
    report |= train(tokenizer, model, given, console)
    console.print(f"{report['train_seconds']:.0f} s, {report['tokens_per_second']:.0f} tokens/s")
    draw(report, out / "loss.png")

    model.config.use_cache = True  # the Trainer switched it off, and it would be saved so
    # The embeddings did not change; to find that out, "auto" would look for a configuration on the hub.
    model.save_pretrained(out / "adapter", save_embedding_layers=False)
    console.rule("After: the same questions")
    report["answers"] = {"before": before, "adapter": ask(tokenizer, model, asked, console)}
    model = model.merge_and_unload()
    model.save_pretrained(out / "merged")
    tokenizer.save_pretrained(out / "merged")
    report["answers"]["merged"] = ask(tokenizer, model, asked)
    report["fallbacks"] = hf.runtime.fallbacks()
    (out / "report.json").write_text(json.dumps(report, indent=1))

    console.rule("The same with PyTorch, in a second process")
    subprocess.run([sys.executable, __file__, "--reference", str(base), str(out)], check=True)
    same = compare(tokenizer, report, json.loads((out / "reference.json").read_text()), console)
    report |= {"identical": same, "seconds": time.perf_counter() - started}
    (out / "report.json").write_text(json.dumps(report, indent=1))
    count = sum(len(ids) for which in ("adapter", "merged") for ids in report["answers"][which])
    console.print(f"\n[green]identical[/green]: {count} tokens" if same else "\n[red]DIFFERENT[/red]")
    console.print(f"{out}: adapter/, merged/, loss.png, report.json; {report['seconds']:.0f} s in all")
    return 0 if same else 1


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    warnings.simplefilter("ignore", FutureWarning)  # peft calls a function that transformers has renamed
    parser = argparse.ArgumentParser(description="Fine-tune a small model on MindSpore, compared with PyTorch.")
    parser.add_argument("--out", type=Path, default=Path("finetune-out"), help="the folder for all results")
    parser.add_argument("--steps", type=positive, help=f"training steps; by default {EPOCHS} passes over the rows")
    parser.add_argument("--rows", type=positive, help="at most this many rows to train on, and as many held out")
    parser.add_argument("--rate", type=float, default=RATE, help="the highest learning rate")
    parser.add_argument("--model", type=Path, help="the folder of another causal model with a chat template")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the model is kept")
    parser.add_argument("--reference", nargs=2, type=Path, metavar=("BASE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reference:
        reference(*given.reference)
        sys.exit(0)
    if given.model and not (given.model / "config.json").is_file():
        parser.error(f"--model {given.model}: not a model's folder, it has no config.json")
    sys.exit(main(given))
