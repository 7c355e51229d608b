"""`hf-ascend coverage`: prints what `conformance.coverage` finds."""

from rich.console import Console
from rich.table import Table


def show(packages: list[str], names: bool) -> None:
    """Print one table for the packages; with `names`, also everything that is not native."""
    from hf_ascend.conformance import coverage

    console = Console()
    found = {p: coverage.report(p) for p in packages}
    table = Table(title="torch as these packages use it, on this device")
    for column in ("package", "what", *coverage.STATES):
        table.add_column(column, justify="left" if column in ("package", "what") else "right")
    for package, report in found.items():
        for kind, counts in coverage.summary(report).items():
            label = "torch names" if kind == "names" else "tensor methods"
            table.add_row(package, label, *(str(counts[s]) for s in coverage.STATES))
    console.print(table)
    if not names:
        return
    for package, report in found.items():
        for kind, by_state in report.items():
            for state in coverage.STATES[1:]:
                if by_state[state]:
                    console.print(f"[bold]{package}, {kind}, {state}:[/bold] {', '.join(by_state[state])}")
