"""`hf-ascend env`: the environment report as a table."""

import json

from hf_ascend.runtime.environment import TESTED, is_tested, report


def _judged(name: str, version: str | None) -> str:
    """A version, and whether the tests ran on it."""
    if version is None:
        return "not installed"
    if name not in TESTED or is_tested(name, version):
        return version + (" (tested)" if name in TESTED else "")
    return f"{version} (not tested; tested: {', '.join(TESTED[name])})"


def env(as_json: bool) -> None:
    """Print the report."""
    found = report()
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("hf_ascend", found.hf_ascend or "not installed")
    table.add_row("Python", f"{_judged('python', found.python)}, {found.platform}")
    table.add_row("MindSpore", _judged("mindspore", found.mindspore))
    table.add_row("CANN", f"{found.cann or 'unknown version'} in {found.cann_path}" if found.cann_path else "not found")
    for name, version in found.packages.items():
        table.add_row(name, _judged(name, version))
    table.add_row("device", f"{found.device or 'none'}: {found.device_why}")
    table.add_row("tested", "yes" if found.tested else "no: " + "; ".join(found.untested))
    Console(highlight=False, soft_wrap=True).print(table)
