"""Runs entries in worker processes and keeps their results.

1. `plan` drops what is done already: results of the same release of transformers, unless they failed and are wanted.
2. `run` gives each worker process one entry at a time, with a time limit. A crash or a hang costs that entry and a
   new process, nothing else. Each result is appended to the results file as it comes, so a stopped sweep resumes.
3. `Results` is that file: one JSON object a line. The last line of a name holds; `compact` leaves only that.
"""

import concurrent.futures
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hf_ascend.conformance import known

TIME_LIMIT = 300.0
_ENTRIES_PER_PROCESS = 120  # upstream's modules stay imported: a new process now and then bounds the memory


class Results:
    """The results of one release of transformers, in `folder`/transformers-<release>.jsonl."""

    def __init__(self, folder: Path, release: str):
        self.file, self.release = folder / f"transformers-{release}.jsonl", release
        self.found: dict[str, dict[str, Any]] = {}
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                result = json.loads(line)
                self.found[result["name"]] = result
            except (ValueError, KeyError, TypeError):
                if number < len(lines):  # the last line may have been cut off by a kill; others are damage
                    raise ValueError(f"{self.file}, line {number}: not a result; delete the line") from None

    def add(self, result: dict[str, Any]) -> None:
        """Keep a result at once; checks that it does not have stay as they were."""
        earlier = self.found.get(result["name"])
        if earlier is not None:
            result = {**result, "checks": {**earlier["checks"], **result["checks"]}}
        self.found[result["name"]] = result
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as out:
            out.write(json.dumps(result) + "\n")

    def compact(self) -> None:
        """One line a name, in order of names."""
        if not self.found:
            return
        text = "".join(json.dumps(self.found[n]) + "\n" for n in sorted(self.found))
        aside = self.file.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self.file)


def failed(result: dict[str, Any], checks: Iterable[str]) -> bool:
    """Whether any of the checks did not match, though it applies."""
    found = result["checks"]
    return any(found[c]["status"] not in known.PASSING for c in checks if c in found)


def plan(names: Iterable[str], results: Results, again: bool, only_failed: bool, checks: tuple[str, ...]) -> list[str]:
    """What is to be run: of `names`, those that lack a check, or (`only_failed`) failed one, or (`again`) all."""
    done = results.found
    if only_failed:
        return [n for n in names if n in done and failed(done[n], checks)]
    return [n for n in names if again or n not in done or not set(checks) <= done[n]["checks"].keys()]


def run(
    names: list[str],
    checks: tuple[str, ...],
    jobs: int,
    seed: int | None = None,
    time_limit: float = TIME_LIMIT,
    overlay: str | None = None,
    work: Callable[..., dict[str, Any]] | None = None,
    start: Callable[..., None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the result of each entry as it comes. A crash or time-out is a result too, with status crash or timeout."""
    from multiprocessing import get_context

    try:
        from pebble import ProcessExpired, ProcessPool
    except ImportError as error:
        raise ImportError(f"{error}; the sweep needs it: pip install 'hf_ascend[conformance]'") from None

    from hf_ascend.conformance import worker

    threads = max(1, (os.cpu_count() or 1) // jobs)
    log = Path(tempfile.gettempdir()) / f"hf-ascend-conformance-{os.getpid()}.log"
    pool = ProcessPool(
        max_workers=jobs,
        max_tasks=_ENTRIES_PER_PROCESS,
        context=get_context("spawn"),
        initializer=start or worker.start,
        initargs=(str(log), threads, overlay),
    )
    with pool:
        pending: dict[concurrent.futures.Future[dict[str, Any]], str] = {
            pool.schedule(work or worker.run, args=(name, checks, seed), timeout=time_limit): name for name in names
        }
        try:
            for future in concurrent.futures.as_completed(pending):
                name = pending[future]
                try:
                    yield future.result()
                except concurrent.futures.TimeoutError:
                    yield _lost(name, checks, "timeout", f"no result within {time_limit:g} s", time_limit)
                except ProcessExpired as error:
                    yield _lost(name, checks, "crash", f"the process died (exit code {error.exitcode}); log: {log}", 0)
                except Exception as error:  # outside of the checks: a package that cannot be imported, say
                    yield _lost(name, checks, "error", f"{type(error).__name__}: {error}", 0)
        except BaseException:
            pool.stop()
            raise


def _lost(name: str, checks: tuple[str, ...], status: str, message: str, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "seconds": seconds,
        "checks": {c: {"status": status, "message": message} for c in checks},
        "fallbacks": {},
    }
