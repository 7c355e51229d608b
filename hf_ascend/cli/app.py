"""The commands of `hf-ascend` and their options; each one's work is in a module of its own, imported when called."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Hugging Face models, scripts and checkpoints on MindSpore and Huawei Ascend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Option("--model", "-m", help="A folder, a .gguf file, or a model id of the hub.")]
GgufFile = Annotated[str | None, typer.Option(help="The GGUF file to take from the folder or model id.")]
Revision = Annotated[str | None, typer.Option(help="A branch, tag or commit of the model id.")]
Dtype = Annotated[str, typer.Option(help='"auto", "float32", "bfloat16" or "float16".')]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that the model brings along.")]
MaxNew = Annotated[int, typer.Option(min=1, help="The most tokens to generate.")]
Sample = Annotated[
    bool | None,
    typer.Option(
        "--sample/--greedy", help="Draw tokens at random; by default what the model's generation config says."
    ),
]
Temperature = Annotated[
    float | None, typer.Option(min=0.0, help="Below 1 sharpens, above 1 flattens; implies --sample.")
]
TopK = Annotated[int | None, typer.Option(min=0, help="Draw among the k likeliest tokens; implies --sample.")]
TopP = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Draw among the likeliest tokens of this share.")]
Penalty = Annotated[float | None, typer.Option(min=0.0, help="Above 1 makes repetitions unlikely.")]
Seed = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]
System = Annotated[str | None, typer.Option(help="The system message of the conversation.")]


class CommandError(Exception):
    """What the user asked for cannot be done; the message says why in one line."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns the errors that bad input causes into one line on stderr and exit code 1.

    HF_ASCEND_TRACEBACK=1 keeps the traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader has gone; nothing more to say, not even while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except (CommandError, OSError, ValueError, ImportError) as error:
        if os.environ.get("HF_ASCEND_TRACEBACK") == "1":
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"hf-ascend: error: {text}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    },
    options_metavar="",
)
def run(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[--retarget PACKAGE]... [--report FILE] (SCRIPT | -m MODULE) [ARGUMENTS]...", show_default=False
        ),
    ] = None,
) -> None:
    """Run an unmodified script or module, with torch and transformers on MindSpore."""
    from hf_ascend.retarget.script import run as run_script

    raise typer.Exit(run_script(args or []))


@app.command()
def generate(
    model: Model,
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; without one it is read from the standard input.")
    ] = None,
    system: System = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as it is, without the chat template.")
    ] = False,
    max_new_tokens: MaxNew = 256,
    sample: Sample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = None,
    num_beams: Annotated[int, typer.Option(min=1, help="Beam search with that many beams; it cannot be streamed.")] = 1,
    seed: Seed = None,
    stream: Annotated[bool, typer.Option(help="Print tokens as they come.")] = True,
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    revision: Revision = None,
    trust_remote_code: Trust = False,
) -> None:
    """Generate text from a prompt."""
    with one_line_errors():
        from hf_ascend.cli import generate as command
        from hf_ascend.cli import text

        options = text.sampling(sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens, num_beams)
        source = text.Source(model, gguf_file, revision, dtype, trust_remote_code)
        command.generate(source, prompt, system, raw, options, seed, stream)


@app.command()
def chat(
    model: Model,
    system: System = None,
    max_new_tokens: MaxNew = 512,
    sample: Sample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = None,
    dtype: Dtype = "auto",
    gguf_file: GgufFile = None,
    revision: Revision = None,
    trust_remote_code: Trust = False,
) -> None:
    """Talk with a model: several turns, streamed, with tokens per second."""
    with one_line_errors():
        from hf_ascend.cli import chat as command
        from hf_ascend.cli import text

        options = text.sampling(sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens)
        source = text.Source(model, gguf_file, revision, dtype, trust_remote_code)
        command.chat(source, system, options, seed)


@app.command()
def env(as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False) -> None:
    """Show versions, the device chosen and why, and whether the combination is tested."""
    from hf_ascend.cli import env as command

    with one_line_errors():
        command.env(as_json)


@app.command()
def coverage(
    packages: Annotated[list[str] | None, typer.Argument(help="Installed packages to scan.")] = None,
    names: Annotated[bool, typer.Option("--names", help="Also list everything that is not native.")] = False,
) -> None:
    """Count which torch names and tensor methods packages use, and how many are native, fallback, absent, missing."""
    with one_line_errors():
        from hf_ascend.cli import coverage as command

        command.show(packages or ["transformers"], names)


conformance = typer.Typer(
    help="Compare with PyTorch: the catalogue of architectures, one checkpoint, operators, training."
)
app.add_typer(conformance, name="conformance")


@conformance.callback(invoke_without_command=True)
def compare(
    context: typer.Context,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", "-k", help="A model type, class, task, or pattern such as 'qwen*/*ForCausalLM'."),
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Only the entries that the test suite runs.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Worker processes.")] = os.cpu_count() or 1,
    checks: Annotated[
        str, typer.Option(help="Which of forward, gradients, generate, save, kernels, with commas.")
    ] = "forward,gradients,generate,save,kernels",
    again: Annotated[bool, typer.Option("--again", help="Also run what has a result.")] = False,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Run again what failed.")] = False,
    transformers_version: Annotated[
        str | None, typer.Option(help="Another release, installed into the user's cache on first use.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Other weights and inputs than the catalogue's.")] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds for one entry.")] = 300,
    results: Annotated[Path | None, typer.Option(help="The folder of results.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write this Markdown file (docs/SUPPORTED.md) from the results and stop.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write this HTML page from the results and stop.")] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Compare this folder's checkpoint, submodule by submodule.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="With --model: inputs, as .safetensors or .npz.")] = None,
    text: Annotated[str | None, typer.Option(help="With --model: the text to make inputs from.")] = None,
    tolerance: Annotated[float, typer.Option(help="With --model: the difference allowed.")] = 1e-4,
    everything: Annotated[bool, typer.Option("--all", help="With --model: list every submodule.")] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Compare tiny models of every architecture with PyTorch, resuming where the last run stopped."""
    if context.invoked_subcommand is not None:
        return
    with one_line_errors():
        from hf_ascend.cli import conformance as command
        from hf_ascend.conformance.catalog import CHECKS

        wanted = tuple(c.strip() for c in checks.split(","))
        if unknown := [c for c in wanted if c not in CHECKS]:
            raise CommandError(f"--checks: {', '.join(unknown)}: expected some of {', '.join(CHECKS)}")
        if model is not None:
            good = command.compare(model, inputs, text, tolerance, everything, trust_remote_code)
        elif report is not None or html is not None:
            command.write(transformers_version, results, report, html)
            good = True
        else:
            good = command.sweep(
                filter or [], wanted, sample, jobs, again, only_failed, transformers_version, seed, time_limit, results
            )
    if not good:
        raise typer.Exit(1)


@conformance.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[OPTIONS]",
)
def operators(context: typer.Context) -> None:
    """Compare operators with PyTorch on PyTorch's own operator database; `operators --help` lists the options."""
    with one_line_errors():
        from hf_ascend.conformance import operators as module

        command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        command.command()(module.main)
        command(args=context.args, prog_name="hf-ascend conformance operators")


@conformance.command()
def training(
    case: Annotated[list[str] | None, typer.Option("--case", "-c", help="One way to train; may be repeated.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training.")] = 50,
) -> None:
    """Compare fifty training steps with PyTorch: Trainer, Seq2SeqTrainer, LoRA, a plain loop, an Accelerator."""
    with one_line_errors():
        from hf_ascend.cli import conformance as command

        if not command.training(case or [], steps):
            raise typer.Exit(1)
