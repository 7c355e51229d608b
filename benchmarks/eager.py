"""The Python cost of retargeting: hf_ascend against real torch and transformers, in one run.

    python benchmarks/eager.py [--rounds 1000] [--processes 3] [--json]

1. Calling an nn.Module whose forward returns its argument: bare, with a forward hook, and three deep.
2. Operators on 4x4 float32 tensors. Recorded for autograd, the operator here against the function of that name in
   mindspore.mint, on the same tensors: the difference is the dispatch, less what the way to the kernel saves where it
   leaves mint out (mint.add costs 20 us more than the primitive, mint.matmul 3 us). On the CPU, operators that nothing
   records run in numpy; they are compared with torch's.
3. Importing modeling_llama when torch and transformers are there (with all that a first model brings along), and then
   the file of one more model.
4. from_config of a Llama of 30 tiny layers.

1 and 2 alternate between the sides in small batches, and 3 and 4 between processes, so that a busy machine hits both
sides alike. Shown are medians: of microseconds by the clock for 1 and 2, of CPU seconds for 3 and 4; ratios and
differences of 1 and 2 are medians over the pairs of neighbouring batches.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 30, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
CALL_GOAL, DISPATCH_GOAL = 2.0, 3.0


def batch(function, size):
    """Microseconds of one call, from a batch of `size`."""
    calls = range(size)
    start = time.perf_counter_ns()
    for _ in calls:
        function()
    return (time.perf_counter_ns() - start) / size / 1000


def alternate(ours, theirs, size, rounds):
    """Medians of two functions' microseconds, of the ratio and of the difference, from `rounds` pairs of batches."""
    sides, pairs = (ours, theirs), []
    for f in sides:
        batch(f, size * 5)
    for i in range(rounds):
        first = i % 2
        found = {first: batch(sides[first], size)}
        found[1 - first] = batch(sides[1 - first], size)
        pairs.append((found[0], found[1]))
    return {
        "ours_us": statistics.median(a for a, _ in pairs),
        "theirs_us": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "difference_us": statistics.median(a - b for a, b in pairs),
    }


def modules(nn):
    """The three modules of 1., by what is measured."""

    class Empty(nn.Module):
        def forward(self, x):
            return x

    class Around(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    hooked = Empty()
    hooked.register_forward_hook(lambda module, args, output: None)
    return {"empty forward": Empty(), "one hook": hooked, "three deep": Around(Around(Empty()))}


def in_one_process(rounds):
    """1. and 2., as rows of the result."""
    import torch as real
    from mindspore import mint

    from hf_ascend import torch as stand_in

    mine, theirs = stand_in.ones(4), real.ones(4)
    ours = modules(stand_in.nn)
    for name, module in modules(real.nn).items():
        timed = alternate(lambda m=ours[name]: m(mine), lambda m=module: m(theirs), 20, rounds)
        yield {"what": f"module call, {name}", "against": "torch", "goal_ratio": CALL_GOAL, **timed}

    operators = {
        "add": (lambda t, x: t.add(x, x), lambda x: mint.add(x, x)),
        "mul": (lambda t, x: t.mul(x, x), lambda x: mint.mul(x, x)),
        "matmul": (lambda t, x: t.matmul(x, x), lambda x: mint.matmul(x, x)),
        "view": (lambda t, x: x.view(2, 8), lambda x: mint.reshape(x, (2, 8))),
    }
    recorded = stand_in.ones(4, 4, requires_grad=True) * 1
    for name, (operator, direct) in operators.items():
        assert operator(stand_in, recorded)._requires_grad
        assert direct(recorded)._requires_grad
        timed = alternate(lambda o=operator: o(stand_in, recorded), lambda d=direct: d(recorded), 5, rounds)
        yield {"what": f"{name}, recorded", "against": "MindSpore", "goal_difference_us": DISPATCH_GOAL, **timed}
    mine, theirs = stand_in.ones(4, 4) + 0, real.ones(4, 4) + 0
    for name, (operator, _) in operators.items():
        timed = alternate(lambda o=operator: o(stand_in, mine), lambda o=operator: o(real, theirs), 20, rounds)
        yield {"what": f"{name}, not recorded", "against": "torch", **timed}


def one_side(side):
    """3. and 4. for one library in this process; prints one JSON line of CPU seconds."""
    import importlib

    if side == "hf_ascend":
        import hf_ascend.torch  # noqa: F401
        import hf_ascend.transformers as library

        prefix = "hf_ascend.transformers"
    else:
        import torch  # noqa: F401
        import transformers as library

        prefix = "transformers"
    found = {}
    for what, model in (("import of modeling_llama", "llama"), ("import of one more model", "qwen3")):
        start = time.process_time()
        importlib.import_module(f"{prefix}.models.{model}.modeling_{model}")
        found[what] = time.process_time() - start
    config, times = library.LlamaConfig(**TINY), []
    for _ in range(6):
        start = time.process_time()
        library.AutoModelForCausalLM.from_config(config)
        times.append(time.process_time() - start)
    found["from_config, 30 layers"] = statistics.median(times[1:])  # the first also imports
    print(json.dumps(found))


def in_processes(processes):
    """3. and 4., as rows of the result."""
    found = {"hf_ascend": [], "transformers": []}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(processes + 1):
            for side, results in found.items():
                command = [sys.executable, str(Path(__file__).resolve()), "--side", side]
                run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
                if run.returncode:
                    raise SystemExit(run.stderr[-3000:])
                if i:  # the first of each side writes what the others find compiled
                    results.append(json.loads(run.stdout.strip().splitlines()[-1]))
    for what in found["hf_ascend"][0]:
        ours, theirs = (statistics.median(r[what] for r in results) for results in found.values())
        yield {
            "what": what, "against": "transformers", "ours_us": ours * 1e6, "theirs_us": theirs * 1e6,
            "ratio": ours / theirs, "difference_us": (ours - theirs) * 1e6,
        }  # fmt: skip


def show(rows):
    """Print the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    def span(us):
        return f"{us:,.2f} us" if us < 1000 else f"{us / 1000:,.0f} ms"

    table = Table(title="The Python cost of retargeting")
    table.add_column("what", no_wrap=True)
    for head in ("hf_ascend", "against", "", "ratio", "more", "goal"):
        table.add_column(head, justify="left" if head == "against" else "right", no_wrap=True)
    for row in rows:
        goal = ""
        if "goal_ratio" in row:
            goal = f"{'[green]' if row['ratio'] <= row['goal_ratio'] else '[red]'}ratio {row['goal_ratio']:g}"
        if "goal_difference_us" in row:
            reached = row["difference_us"] <= row["goal_difference_us"]
            goal = f"{'[green]' if reached else '[red]'}{row['goal_difference_us']:g} us more"
        theirs = span(row["theirs_us"])
        more = span(row["difference_us"])
        table.add_row(row["what"], span(row["ours_us"]), row["against"], theirs, f"{row['ratio']:.2f}", more, goal)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def main():
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, help="pairs of batches for each module and operator")
    parser.add_argument("--processes", type=int, default=3, help="for each side; 0 leaves out imports and from_config")
    parser.add_argument("--json", action="store_true", help="print JSON, times in microseconds")
    parser.add_argument("--side", choices=("hf_ascend", "transformers"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        one_side(args.side)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = list(in_one_process(args.rounds))
    if args.processes:
        rows += in_processes(args.processes)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)


if __name__ == "__main__":
    main()
