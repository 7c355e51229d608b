"""The stand-in's operators against PyTorch's own operator database, for every name that upstream uses.

1. `operators_names` finds the names in use and the database's entries for each.
2. Worker processes run `operators_check` on one operator at a time; one that crashes or hangs costs that operator.
3. Results are data in results/operators.json; `operators_report` makes docs/OPERATORS.md from them.

Run as `hf-ascend conformance operators`, or `python -m hf_ascend.conformance.operators`.
"""

import fnmatch
import json
import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_ascend.conformance import operators_names as names

RESULTS = Path(__file__).with_name("results") / "operators.json"
SECONDS = 180
"""The time limit of one operator."""


# ---- workers
def _serve(pipe: multiprocessing.connection.Connection, limit: int | None) -> None:
    """In a worker: checks the operators that come through the pipe, until None comes."""
    import os
    import warnings

    warnings.filterwarnings("ignore")
    os.environ.setdefault("GLOG_v", "3")  # MindSpore logs a warning for each empty tensor
    import torch

    torch.set_num_threads(1)
    from hf_ascend.conformance import operators_check

    pipe.send("ready")
    while (planned := pipe.recv()) is not None:
        start = time.monotonic()
        try:
            result = operators_check.check(planned, limit)
        except Exception as error:
            result = {"checks": {}, "failures": [], "broken": f"{type(error).__name__}: {error}"[:400]}
        pipe.send(result | {"seconds": round(time.monotonic() - start, 1)})


class _Worker:
    """A process that checks one operator at a time; started anew after a crash or a time-out."""

    def __init__(self, limit: int | None, serve: Any):
        self.limit, self.serve = limit, serve
        self.planned: names.Planned | None = None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=self.serve, args=(theirs, self.limit), daemon=True)
        self.process.start()
        theirs.close()
        self.ready, self.since = False, time.monotonic()

    def give(self, planned: names.Planned | None) -> None:
        self.planned, self.since = planned, time.monotonic()
        self.pipe.send(planned)

    def late(self, seconds: float) -> bool:
        """Whether the operator, or the start of the process, took too long."""
        return time.monotonic() - self.since > (seconds if self.ready else 10 * seconds)

    def restart(self) -> None:
        self.process.kill()
        self.process.join()
        self.start()


def run(
    planned: list[names.Planned],
    jobs: int = 1,
    seconds: float = SECONDS,
    limit: int | None = None,
    serve: Any = _serve,
) -> Iterator[tuple[names.Planned, dict[str, Any]]]:
    """Check operators in `jobs` processes; yields (operator, result) as they finish.

    A result has "checks" {check: {"passed", "known", "failed"}}, "failures" (texts), and "broken" where the process
    crashed or took longer than `seconds`. `serve` is what a process does: `_serve`, or another one of its protocol.
    """
    queue = list(reversed(planned))
    workers = [_Worker(limit, serve) for _ in range(min(jobs, len(planned)))]
    open_ = len(planned)
    try:
        while open_:
            multiprocessing.connection.wait([w.pipe for w in workers], timeout=1)
            for w in workers:
                answer = _answer(w, seconds)
                if w.planned is not None and answer is not None:
                    done, w.planned = w.planned, None
                    open_ -= 1
                    yield done, answer
                if w.ready and w.planned is None and queue:
                    w.give(queue.pop())
    finally:
        for w in workers:
            w.process.kill()
            w.process.join()


def _answer(w: _Worker, seconds: float) -> dict[str, Any] | None:
    """What a worker reports by now: its result, why it broke, or nothing yet."""
    try:
        if w.pipe.poll():
            said = w.pipe.recv()
            if said != "ready":
                return said
            w.ready = True
    except (EOFError, OSError):
        w.process.join(5)
        code, was_ready = w.process.exitcode, w.ready
        if not was_ready:
            raise RuntimeError(f"a worker process could not start (exit code {code}); its message is above") from None
        w.restart()
        return {"checks": {}, "failures": [], "broken": f"the process died with exit code {code}", "seconds": 0.0}
    if w.planned is not None and w.late(seconds):
        w.restart()
        return {"checks": {}, "failures": [], "broken": f"took more than {seconds:g} s", "seconds": float(seconds)}
    return None


# ---- results
def verdict(result: dict[str, Any]) -> str:
    """One of "passed", "known differences", "failed", "broken", "not tested" (no sample fits)."""
    if result.get("broken"):
        return "broken"
    counts = result["checks"].values()
    if any(c["failed"] for c in counts):
        return "failed"
    if any(c["known"] for c in counts):
        return "known differences"
    return "passed" if any(c["passed"] for c in counts) else "not tested"


def row(planned: names.Planned, result: dict[str, Any] | None) -> dict[str, Any]:
    """What results/operators.json keeps of one operator; `result` is None for one without a database entry."""
    from hf_ascend.conformance import coverage, operators_ascend

    made: dict[str, Any] = {
        "files": planned.files, "form": planned.form, "entries": list(planned.entries),
        "cpu": coverage.status(planned.name), "ascend": operators_ascend.describe(planned.name),
    }  # fmt: skip
    if result is None:
        return made | {"verdict": "no entry"}
    kept = {k: v for k, v in result.items() if k != "seconds"}  # would differ from run to run
    return made | kept | {"verdict": verdict(result)}


def chosen(everything: Iterable[names.Planned], patterns: list[str]) -> list[names.Planned]:
    """The operators whose name matches one of the patterns (`*` and `?`); all for no pattern."""
    if not patterns:
        return list(everything)
    return [
        p for p in everything
        if any(fnmatch.fnmatchcase(n, q) for q in patterns for n in (p.name, p.name.removeprefix("Tensor.")))
    ]  # fmt: skip


def main(
    filter: Annotated[  # noqa: A002
        list[str] | None, typer.Option("--filter", "-k", help="Names or patterns: 'softmax', 'fft.*', 'Tensor.add_'.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most samples per entry and dtype; such results are not kept.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="The time limit of one operator.")] = SECONDS,
    report: Annotated[
        bool, typer.Option("--report", help="Only write docs/OPERATORS.md from the kept results.")
    ] = False,
    save: Annotated[bool, typer.Option(help="Keep the results (for those chosen) in results/operators.json.")] = True,
) -> None:
    """Compare the stand-in's operators with PyTorch on PyTorch's own operator database."""
    from rich.console import Console

    from hf_ascend.conformance import operators_report

    console = Console()
    if report:
        operators_report.write(json.loads(RESULTS.read_text()))
        console.print(f"wrote {operators_report.DOCUMENT}")
        return
    in_use = names.used()
    planned = chosen(names.plan(in_use), filter or [])
    if not planned:
        raise typer.BadParameter(f"no operator in use matches {', '.join(filter or [])}", param_hint="--filter")
    rows = {p.name: row(p, None) for p in planned if not p.entries}
    complete = False
    try:
        failed = _progress(console, [p for p in planned if p.entries], rows, jobs, seconds, limit)
        complete = not filter and limit is None
    finally:
        if save and limit is None:  # what was found until an interruption, too
            keep(rows, in_use, complete)
            operators_report.write(json.loads(RESULTS.read_text()))
    stale = operators_report.stale(rows) if not filter and limit is None else []
    for text in stale:
        console.print(f"[red]no difference any more:[/red] {text}", highlight=False)
    counts = operators_report.count(rows)
    console.print(", ".join(f"{n} {what}" for what, n in counts.items()))
    if failed or stale:
        raise typer.Exit(1)


def _progress(
    console: Any, planned: list[names.Planned], rows: dict, jobs: int, seconds: float, limit: int | None
) -> list[str]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    failed = []
    columns: Any = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("operators", total=len(planned))
        for done, result in run(planned, jobs, seconds, limit):
            rows[done.name] = row(done, result)
            if rows[done.name]["verdict"] in ("failed", "broken"):
                failed.append(done.name)
                console.print(f"[red]{done.name}[/red] {result.get('broken') or ''}", highlight=False)
                for text in result["failures"]:
                    console.print(f"    {text}", markup=False, highlight=False)
            progress.update(task, advance=1, description=f"{len(failed)} failed, {done.name}"[:40].ljust(40))
    return failed


def keep(rows: dict[str, dict[str, Any]], in_use: dict[str, int], complete: bool) -> None:
    """Write rows to results/operators.json: all of it, or those checked into what is there."""
    import torch

    found = {} if complete or not RESULTS.exists() else json.loads(RESULTS.read_text())["operators"]
    found = {n: r for n, r in (found | rows).items() if n in in_use}
    others: dict[str, list[str]] = {}
    for name in sorted(in_use):
        if (kind := names.operator_kind(name)) != "operator":
            others.setdefault(kind, []).append(name)
    data = {
        "torch": torch.__version__, "packages": list(names.packages()), "operators": dict(sorted(found.items())),
        "not operators": others,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
