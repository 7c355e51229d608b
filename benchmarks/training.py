"""Training steps by the Trainer, float32 on the CPU: hf_ascend against real transformers, in one run.

    python benchmarks/training.py [--threads 2] [--steps 8] [--rounds 2] [--case llama] [--json]

* llama: a Llama of SmolLM2-135M's shape, batch 2, 128 tokens, AdamW (the Trainer's default, fused), clipping at 1.
* bert: a classifier of BERT base's shape, batch 8, 128 tokens, the same.

Each side trains in its own process, the sides in turn, `--rounds` times. A step's time is the clock's from one step's
end to the next, which has data, forward, backward, clipping, optimizer and callbacks in it; shown are medians over all
rounds without the first two steps of each process, and the process's peak resident memory. The weights are random and
the same on both sides, and so must be the losses.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

LLAMA = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip
BERT = {"num_labels": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CASES = {"llama": 2, "bert": 8}  # batch sizes
TOKENS, WARM = 128, 2
SPEED_GOAL, MEMORY_GOAL = 0.8, 1.3


def one_side(side, case, threads, steps):
    """Train in this process; prints one JSON line."""
    if side == "hf_ascend":
        import hf_ascend as library
        from hf_ascend import torch
    else:
        import torch
        import transformers as library
    import numpy as np

    torch.set_num_threads(threads)
    library.set_seed(0)
    batch, draw = CASES[case], np.random.RandomState(0)
    if case == "llama":
        model = library.LlamaForCausalLM(library.LlamaConfig(**LLAMA))
        ids = draw.randint(0, LLAMA["vocab_size"], (batch * 4, TOKENS))
        rows = [{"input_ids": torch.tensor(r), "labels": torch.tensor(r)} for r in ids]
    else:
        model = library.BertForSequenceClassification(library.BertConfig(**BERT))
        ids = draw.randint(0, 30000, (batch * 4, TOKENS))
        rows = [{"input_ids": torch.tensor(r), "labels": torch.tensor(int(r[0]) % 2)} for r in ids]
    with torch.no_grad():  # the same weights on both sides
        for i, p in enumerate(model.parameters()):
            values = np.random.RandomState(i).standard_normal(tuple(p.shape)).astype(np.float32)
            p.copy_(torch.from_numpy(values * 0.02 if p.ndim > 1 else values * 0.02 + 1))
    ends = []

    class Clock(library.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = library.TrainingArguments(
            output_dir=folder, max_steps=steps + WARM + 1, per_device_train_batch_size=batch, logging_steps=steps,
            save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        trainer = library.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()])
        trainer.train()
    taken = [b - a for a, b in zip(ends, ends[1:], strict=False)][WARM:]
    loss = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"steps": taken, "peak_mib": peak, "loss": loss}))


def main():
    """Run both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--side", choices=("hf_ascend", "transformers"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        one_side(args.side, args.case[0], args.threads, args.steps)
        return
    env, report = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}, {}
    for case in args.case or CASES:
        found = {"transformers": [], "hf_ascend": []}
        for _ in range(args.rounds):
            for side, runs in found.items():
                command = [sys.executable, "-W", "ignore", __file__, "--side", side, "--case", case,
                           "--threads", str(args.threads), "--steps", str(args.steps)]  # fmt: skip
                done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
                runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        step = {side: statistics.median(t for run in runs for t in run["steps"]) for side, runs in found.items()}
        peak = {side: max(run["peak_mib"] for run in runs) for side, runs in found.items()}
        report[case] = {
            "step_s": step, "peak_mib": peak, "loss": {side: runs[0]["loss"] for side, runs in found.items()},
            "speed": step["transformers"] / step["hf_ascend"], "memory": peak["hf_ascend"] / peak["transformers"],
        }  # fmt: skip
        if not args.json:
            for side in found:
                print(f"{case}, {side}: {step[side]:.3f} s a step, peak {peak[side]:.0f} MiB, "
                      f"loss {report[case]['loss'][side]:.6f}")  # fmt: skip
            print(f"{case}: {report[case]['speed']:.2f} of transformers' speed (goal {SPEED_GOAL}), "
                  f"{report[case]['memory']:.2f} of its peak memory (goal {MEMORY_GOAL})")  # fmt: skip
    if args.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
