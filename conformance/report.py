"""docs/SUPPORTED.md and the HTML page, made from the sweep's results.

A share counts the entries to which a check applies: all for forward and save, those that train from labels for
gradients, those that generate for generate, those that use a fused kernel for kernels.
"""

import collections
import html
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_ascend.conformance import catalog, known
from hf_ascend.conformance.catalog import CHECKS

TEMPLATE = Path(__file__).with_name("report.html")
Results = dict[str, dict[str, Any]]


def applies(name: str, check: str, result: dict[str, Any]) -> bool:
    """Whether the check counts for the entry; none does where the release of transformers lacks the class."""
    entry = catalog.entries()[name]
    if result["checks"].get(check, {}).get("status") == "absent":
        return False
    if check == "gradients":
        return entry.trains
    if check == "generate":
        return entry.generates
    return result["checks"].get(check, {"status": "none"})["status"] != "none"


def matched(result: dict[str, Any], check: str) -> bool:
    """Whether the check matched."""
    return result["checks"].get(check, {}).get("status") == "match"


def tally(results: Results, names: Iterable[str], check: str) -> tuple[int, int]:
    """(matched, applicable) among `names`."""
    counted = [n for n in names if n in results and applies(n, check, results[n])]
    return sum(matched(results[n], check) for n in counted), len(counted)


def _cell(results: Results, names: list[str], check: str) -> str:
    good, count = tally(results, names, check)
    if not count:
        return ""
    return f"{good}" if good == count else f"**{good} of {count}**"


def _table(results: Results, groups: dict[str, list[str]], head: str) -> list[str]:
    lines = [f"| {head} | classes | {' | '.join(CHECKS)} |", "|---|" + "---|" * (len(CHECKS) + 1)]
    for group, names in sorted(groups.items()):
        cells = " | ".join(_cell(results, names, c) for c in CHECKS)
        lines.append(f"| {group} | {len(names)} | {cells} |")
    return lines


def _groups(names: Iterable[str], key: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        found[key(catalog.entries()[name])].append(name)
    return found


def _escape(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def markdown(results: Results, release: str) -> str:
    """The text of docs/SUPPORTED.md."""
    names = [n for n in catalog.entries() if n in results]
    lines = [
        "# What matches PyTorch",
        "",
        f"Made by `hf-ascend conformance --report` from {len(names)} of the catalogue's {len(catalog.entries())} "
        f"entries, each a tiny model of transformers {release} with random weights: built and saved by real "
        "transformers, loaded by hf_ascend, compared in float32 on the CPU. Nothing here ran on an NPU.",
        "",
        "| check | matched | of | share |",
        "|---|---|---|---|",
    ]
    for check in CHECKS:
        good, count = tally(results, names, check)
        lines.append(f"| {check} | {good} | {count} | {good / max(count, 1):.1%} |")
    lines += [
        "",
        _conditioned(results, names),
        "",
        "* forward: every tensor of the output, caches included, to 1e-4 * max(1, max of the tensor)",
        "* gradients: the loss, and every parameter's gradient to 1e-3 of its largest value",
        "* generate: the same greedy tokens",
        "* save: what hf_ascend saves, real transformers loads with the same bits and the same output",
        "* kernels: outputs and gradients on the Ascend code path, emulated (tolerances in KERNELS.md)",
        "",
        "A cell gives how many classes match; where some do not, of how many.",
        "",
        "## By task",
        "",
        *_table(results, _groups(names, lambda e: e.task), "task"),
        "",
        "## By architecture",
        "",
        *_table(results, _groups(names, lambda e: e.model_type), "model type"),
        "",
        "## What does not match",
        "",
        *_failures(results, names),
        "",
        "## Operators that run in PyTorch on the CPU",
        "",
        *_fallbacks(results, names),
    ]
    return "\n".join(lines) + "\n"


def _conditioned(results: Results, names: list[str]) -> str:
    counts = {c: sum(bool(results[n]["checks"].get(c, {}).get("conditioned")) for n in names) for c in CHECKS}
    found = ", ".join(f"{n} of {c}" for c, n in counts.items() if n) or "none"
    return f"Matches that took the measure for ill-conditioned results (see CONFORMANCE.md): {found}."


def _failures(results: Results, names: list[str]) -> list[str]:
    rows = []
    for name in names:
        for check, found in results[name]["checks"].items():
            if found["status"] not in known.PASSING:
                why = (
                    known.reason(name, check, results[name].get("transformers"))
                    or f"{found['status']}: {found.get('message', '')}"
                )
                rows.append(f"| {name} | {check} | {_escape(why)} |")
    return ["| entry | check | why |", "|---|---|---|", *rows] if rows else ["Everything matches."]


def _fallbacks(results: Results, names: list[str]) -> list[str]:
    users: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        for operator in results[name].get("fallbacks", {}):
            users[operator].append(catalog.entries()[name].model_type)
    touched = {catalog.entries()[n].model_type for n in names if results[n].get("fallbacks")}
    everything = {catalog.entries()[n].model_type for n in names}
    lines = [
        f"{len(touched)} of {len(everything)} model types touch one in forward or training; the others run on "
        "MindSpore and numpy alone.",
        "",
        "| operator | model types | which |",
        "|---|---|---|",
    ]
    for operator, types in sorted(users.items(), key=lambda u: (-len(set(u[1])), u[0])):
        distinct = sorted(set(types))
        lines.append(f"| {operator} | {len(distinct)} | {', '.join(distinct)} |")
    return lines


def page(results: Results, release: str) -> str:
    """One HTML file with every entry, filters, and the totals."""
    rows = []
    for name, found in sorted(results.items()):
        entry = catalog.entries()[name]
        rows.append(
            {
                "name": name,
                "task": entry.task,
                "checks": {
                    c: {**r, "known": known.reason(name, c, release)} if r["status"] not in known.PASSING else r
                    for c, r in found["checks"].items()
                },
                "fallbacks": found.get("fallbacks", {}),
            }
        )
    totals = {c: tally(results, results, c) for c in CHECKS}
    data = json.dumps({"release": release, "checks": CHECKS, "totals": totals, "rows": rows})
    return TEMPLATE.read_text().replace("/*DATA*/null", data.replace("</", "<\\/"))
