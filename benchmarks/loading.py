"""Time and peak memory to have a 135M Llama's bfloat16 safetensors as float32: hf_ascend against transformers.

    python benchmarks/loading.py [--repeats 7] [--rounds 2]

The checkpoint (SmolLM2-135M's shape, random weights) is made on the fly. Each side runs in processes of its own, in
turn, so that a busy machine hits both; the first load of a process (imports, cold files) does not count. Wall and CPU
seconds are medians over all loads; the goal is a ratio of at most 2. The peak is what the process's memory grew by
while it loaded (on Linux), in terms of the float32 weights; the goal is at most 1.15. `--experts` loads a mixture of
experts instead (Qwen3-MoE, 730 MB as float32), whose experts are apart in the file and one tensor in memory.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPE = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
EXPERTS = {
    "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 160,
    "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "num_experts": 128,
    "num_experts_per_tok": 4,
}  # fmt: skip


def make(folder, experts):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**EXPERTS)) if experts else LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.to(torch.bfloat16).save_pretrained(folder)


def memory(key):
    """Bytes of VmRSS (now) or VmHWM (the peak) on Linux; elsewhere 0."""
    with contextlib.suppress(OSError), open("/proc/self/status") as f:
        return int(next(line for line in f if line.startswith(key)).split()[1]) * 1024
    return 0


def count_peak_from_here():
    """Give back what is free, so that nothing is loaded into what an earlier model left. Returns the memory in use."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    return memory("VmRSS")


def load(side, folder, repeats):
    if side == "hf_ascend":
        from hf_ascend import AutoModelForCausalLM, torch
    else:
        import torch
        from transformers import AutoModelForCausalLM
    out = []
    for _ in range(repeats + 1):
        base = count_peak_from_here()
        wall, cpu = time.perf_counter(), time.process_time()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        times = time.perf_counter() - wall, time.process_time() - cpu
        out.append((*times, (memory("VmHWM") - base) / (4 * model.num_parameters())))
        assert model.dtype == torch.float32
        assert model.num_parameters() > 134e6
        del model
    print("RESULT", json.dumps(out[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="loads in a process")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each side")
    parser.add_argument("--experts", action="store_true", help="a mixture of experts, 192M parameters")
    parser.add_argument("--side", choices=["make", "transformers", "hf_ascend"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == "make":
        return make(args.folder, args.experts)
    if args.side:
        return load(args.side, args.folder, args.repeats)
    times = {"transformers": [], "hf_ascend": []}
    with tempfile.TemporaryDirectory() as folder:

        def child(side):
            command = [sys.executable, str(Path(__file__).resolve()), "--side", side, "--folder", folder]
            command += ["--repeats", str(args.repeats), *(["--experts"] if args.experts else [])]
            run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            if run.returncode:
                raise SystemExit(run.stderr[-3000:])
            return run.stdout

        child("make")
        for _ in range(args.rounds):
            for side, found in times.items():
                result = next(line for line in child(side).splitlines() if line.startswith("RESULT "))
                found += json.loads(result.removeprefix("RESULT "))
    for i, what in enumerate(("wall", "CPU")):
        medians = {side: statistics.median(t[i] for t in found) for side, found in times.items()}
        shown = ", ".join(f"{side} {seconds:.2f} s" for side, seconds in medians.items())
        print(f"{what}: {shown}, ratio {medians['hf_ascend'] / medians['transformers']:.2f}")
    peaks = {side: max(t[2] for t in found) for side, found in times.items()}
    print("peak memory: " + ", ".join(f"{side} {peak:.2f} of the weights" for side, peak in peaks.items()))
    return None


if __name__ == "__main__":
    main()
