"""Prefill and greedy decode of a 135M Llama (SmolLM2's shape), float32: hf_ascend against real transformers.

    python benchmarks/llm.py [--threads 2] [--runs 5] [--prompt 128] [--new 32]

Each side runs in its own process, in turn; the figures are medians of `--runs` after one warm-up. The
weights are random (speed does not depend on them) and the same on both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SHAPE = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip


def one_side(side: str, args: argparse.Namespace) -> None:
    """Time one library in this process; prints one JSON line."""
    if side == "hf_ascend":
        import hf_ascend as library
        from hf_ascend import torch
    else:
        import torch
        import transformers as library
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = library.LlamaForCausalLM(library.LlamaConfig(**SHAPE, eos_token_id=None, bos_token_id=None)).eval()
    ids = torch.randint(0, SHAPE["vocab_size"], (1, args.prompt))
    prefill, decode = [], []
    with torch.no_grad():
        for run in range(args.runs + 1):
            start = time.perf_counter()
            model(input_ids=ids, logits_to_keep=1).logits.numpy()
            middle = time.perf_counter()
            model.generate(ids, max_new_tokens=1, do_sample=False, pad_token_id=0)
            begin = time.perf_counter()
            model.generate(ids, max_new_tokens=args.new + 1, do_sample=False, pad_token_id=0)
            end = time.perf_counter()
            if run:
                prefill.append(middle - start)
                decode.append((end - begin) - (begin - middle))
    print(
        json.dumps(
            {
                "side": side,
                "prefill_tokens_per_s": args.prompt / statistics.median(prefill),
                "decode_tokens_per_s": args.new / statistics.median(decode),
            }
        )
    )


def main() -> None:
    """Run both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--side", choices=("hf_ascend", "transformers"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        one_side(args.side, args)
        return
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    found = {}
    for side in ("transformers", "hf_ascend"):
        command = [sys.executable, __file__, "--side", side, *sys.argv[1:]]
        output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
        found[side] = json.loads(output.strip().splitlines()[-1])
        print(json.dumps(found[side]))
    for what in ("prefill", "decode"):
        key = f"{what}_tokens_per_s"
        print(f"{what}: {found['hf_ascend'][key] / found['transformers'][key]:.2f} of transformers' speed")


if __name__ == "__main__":
    main()
