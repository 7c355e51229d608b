"""`hf-ascend conformance`: runs the sweep with a progress bar, reports what is news, compares one checkpoint."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import hf_ascend.conformance
from hf_ascend.cli.app import CommandError
from hf_ascend.cli.overlay import overlay

console = Console(highlight=False)


def results_folder() -> Path:
    """Where results are kept: beside the code in a working copy, else in the current folder."""
    beside = Path(hf_ascend.conformance.__file__).parent
    return beside / "results" if (beside.parent / "pyproject.toml").is_file() else Path("conformance-results")


def sweep(
    patterns: list[str],
    checks: tuple[str, ...],
    sample: bool,
    jobs: int,
    again: bool,
    only_failed: bool,
    release: str | None,
    seed: int | None,
    time_limit: float,
    folder: Path | None,
) -> bool:
    """Run what is asked for and not done yet; True when nothing is news."""
    from hf_ascend.conformance import catalog, known
    from hf_ascend.conformance import sweep as module

    release, extra = overlay(release or metadata.version("transformers"), console)
    names = catalog.select(patterns)
    if sample:
        chosen = set(catalog.sample())
        names = [n for n in names if n in chosen]
    kept = module.Results(folder or results_folder(), release if seed is None else f"{release}-seed{seed}")
    todo = module.plan(names, kept, again, only_failed, checks)
    console.print(f"{len(todo)} of {len(names)} entries to run; results in {kept.file}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("comparing", total=len(todo))
        for result in module.run(todo, checks, jobs, seed, time_limit, extra):
            if (ran := result.setdefault("transformers", release)) != release:
                raise CommandError(f"a worker imported transformers {ran} in place of {release} in {extra}")
            kept.add(result)
            judged = known.News()
            judged.judge(result)
            for (name, check), why in judged.failures.items():
                progress.console.print(f"[red]{name} {check}[/red]: {escape(why)}", soft_wrap=True)
            progress.advance(task)
    kept.compact()
    return summary({n: kept.found[n] for n in names if n in kept.found})


def summary(results: dict[str, Any]) -> bool:
    """Print the totals and what the table of known failures does not say; True when there is nothing of that."""
    from hf_ascend.conformance import catalog, known, report

    table = Table(title=f"{len(results)} entries against PyTorch")
    for column in ("check", "matched", "of", "share"):
        table.add_column(column, justify="left" if column == "check" else "right")
    for check in catalog.CHECKS:
        good, count = report.tally(results, results, check)
        table.add_row(check, str(good), str(count), f"{good / count:.1%}" if count else "")
    console.print(table)
    news = known.News()
    for result in results.values():
        news.judge(result)
    absent = [n for n, r in results.items() if any(f["status"] == "absent" for f in r["checks"].values())]
    if absent:
        console.print(f"{len(absent)} are not in this release: {', '.join(absent)}", soft_wrap=True)
    if news.failures:
        console.print(f"[bold red]{len(news.failures)} unexpected failures[/bold red]")
        for (name, check), why in news.failures.items():
            console.print(f"  {name} {check}: {escape(why)}", soft_wrap=True)
    if news.passes:
        console.print(f"[bold red]{len(news.passes)} unexpected passes[/bold red]: take them out of {known.FILE.name}")
        for (name, check), why in news.passes.items():
            console.print(f"  {name} {check}: was known to fail: {why}", soft_wrap=True)
    return not news


def write(release: str | None, folder: Path | None, supported: Path | None, page: Path | None) -> None:
    """Write docs/SUPPORTED.md, the HTML page, or both, from the kept results."""
    from hf_ascend.conformance import report
    from hf_ascend.conformance import sweep as module

    release = release or metadata.version("transformers")
    kept = module.Results(folder or results_folder(), release)
    if not kept.found:
        raise CommandError(f"there are no results in {kept.file}; run `hf-ascend conformance` first")
    for file, make in ((supported, report.markdown), (page, report.page)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(make(kept.found, release))
            console.print(f"wrote {file}")


def compare(
    model: Path, inputs: Path | None, text: str | None, tolerance: float, everything: bool, trust: bool
) -> bool:
    """Compare one checkpoint submodule by submodule; True when it matches."""
    from hf_ascend.conformance import checkpoint

    found = checkpoint.run(model, inputs, text or checkpoint.TEXT, tolerance, trust)
    given = ", ".join(f"{k} {list(v)}" for k, v in found.inputs.items())
    console.print(f"{found.class_name} with {given}: {len(found.steps)} submodule calls")
    departed = [s for s in found.steps if s.message is not None]
    table = Table("submodule", "class", "difference / allowed", "what departs")
    for step in found.steps if everything else departed[:20]:
        message = (step.message or "") + ("" if step.inputs_agree else " (its input had departed)")
        table.add_row(step.module or "(model)", step.class_name, f"{step.error:.3g}", message if step.message else "")
    if table.row_count:
        console.print(table)
    if found.output is None:
        console.print(f"[green]The outputs match[/green]: at most {found.error:.3g} of the allowed difference.")
        return True
    console.print(f"[red]The outputs differ[/red]: {found.output}")
    if departed:
        first = departed[0]
        console.print(f"They part at {first.module or 'the model itself'} ({first.class_name}): {first.message}")
    return False


def training(cases: list[str], steps: int) -> bool:
    """Train in each of `cases` (all if none is named) on both sides; True when losses and weights match."""
    from hf_ascend.conformance import training as module

    if unknown := [c for c in cases if c not in module.CASES]:
        raise CommandError(f"--case: {', '.join(unknown)}: expected some of {', '.join(module.CASES)}")
    table = Table(
        "training", "steps", f"losses differ by (at most {module.LOSS:g})", f"weights (at most {module.WEIGHTS:g})"
    )
    good = True
    for case in cases or module.CASES:
        loss, weights, compared = module.run(case, steps)
        good = good and loss <= module.LOSS and weights <= module.WEIGHTS
        table.add_row(case, str(compared), f"{loss:.2g}", f"{weights:.2g}")
    console.print(table)
    return good
