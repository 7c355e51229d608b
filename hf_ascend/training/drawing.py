"""The curves of a training as one file that needs nothing else: a PNG, or an HTML page with the drawing inside.

Nothing here imports transformers: `hf-ascend run --report` asks `require_matplotlib` and `check_path` before it starts.
"""

import html
import importlib.util
import io
import math
from pathlib import Path
from typing import Any

PANELS = {
    "Loss": ("loss", "eval_loss"),
    "Learning rate": ("learning_rate",),
    "Gradient norm": ("grad_norm",),
    "Tokens per second": ("tokens_per_second",),
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}}
td{{padding:.1rem 1.5rem .1rem 0}} td+td{{font-variant-numeric:tabular-nums}} svg{{width:100%;height:auto}}</style>
<h1>{title}</h1>
<table>{rows}</table>
{drawing}
</html>
"""


def require_matplotlib() -> None:
    """Raise ImportError, saying how to install it, where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("a training report is drawn by matplotlib: pip install 'hf_ascend[train]' or matplotlib")


def check_path(path: Any) -> Path:
    """The path of a report. Raises ValueError unless it ends in .html or .png, OSError without its folder."""
    file = Path(path)
    if file.suffix not in (".html", ".png"):
        raise ValueError(f"a training report is an .html or a .png file, not {str(path)!r}")
    if not file.absolute().parent.is_dir():
        raise OSError(f"the folder of the training report is not there: {file.absolute().parent}")
    return file


def curve(history: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one name in a Trainer's log history; values that are not finite are gaps."""
    points = [(h["step"], float(h[name])) for h in history if name in h]
    return [s for s, _ in points], [v if math.isfinite(v) else math.nan for _, v in points]


def draw(history: list[dict[str, Any]], title: str) -> Any:
    """A matplotlib figure of a Trainer's log history."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    if title:
        figure.suptitle(title)
    for axes, (heading, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        axes.set_title(heading, fontsize=11)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        drawn = [n for n in names if curve(history, n)[0]]
        for name in drawn:
            steps, values = curve(history, name)
            style = {"marker": "o", "markersize": 3} if len(steps) < 40 else {}
            axes.plot(steps, values, label="evaluation" if name.startswith("eval_") else "training", **style)
        if len(drawn) > 1:
            axes.legend()
        if not drawn:
            axes.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axes.transAxes, color="grey")
        else:
            axes.ticklabel_format(axis="y", scilimits=(-3, 5))
        if heading == "Tokens per second":
            axes.set_ylim(bottom=0)
    return figure


def facts(args: Any, state: Any, model: Any) -> dict[str, str]:
    """What the report says in words."""
    from hf_ascend.runtime import choose_device

    last = {k: v for h in state.log_history for k, v in h.items()}  # the last value of each name
    found = {
        "Model": f"{type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters",
        "Device": choose_device().target,
        "Steps": f"{state.global_step:,} of {state.max_steps:,}",
        "Batch": f"{args.per_device_train_batch_size} x {args.gradient_accumulation_steps} (accumulated)",
        "Optimizer": f"{getattr(args.optim, 'value', args.optim)}, learning rate {args.learning_rate:g}",
    }
    names = {
        "Last loss": "loss", "Last evaluation loss": "eval_loss", "Last tokens per second": "tokens_per_second",
        "Last model FLOPs utilisation": "mfu", "Seconds": "train_runtime", "Peak memory, GB": "peak_memory_gb",
    }  # fmt: skip
    return found | {label: f"{last[name]:.4g}" for label, name in names.items() if name in last}


def write(path: Any, args: Any, state: Any, model: Any) -> None:
    """Write the report of a Trainer's state to `path`."""
    file = check_path(path)
    known = facts(args, state, model)
    title = f"Training of {type(model).__name__}"
    if file.suffix == ".png":
        draw(state.log_history, f"{title}: {known['Steps']} steps on {known['Device']}").savefig(file, dpi=110)
        return
    drawing = io.StringIO()
    unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    draw(state.log_history, "").savefig(drawing, format="svg", metadata=unsaid)
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in known.items())
    svg = drawing.getvalue()
    file.write_text(
        _PAGE.format(title=html.escape(title), rows=rows, drawing=svg[svg.index("<svg") :]), encoding="utf-8"
    )
