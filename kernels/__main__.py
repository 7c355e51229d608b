"""`python -m hf_ascend.kernels` prints the contracts of CANN's operators and the cann faces, for docs/KERNELS.md."""

from collections.abc import Iterator

from .cann import attention, contracts, rms_norm, rotary
from .contract import Contract


def describe(contract: Contract) -> Iterator[str]:
    """Markdown lines: a heading, one row per argument, and the limits in words."""
    yield f"### {contract.name}"
    yield ""
    yield f"Source: {contract.source}. {'Differentiable' if contract.differentiable else 'No gradient'}."
    yield ""
    yield "| argument | layout | dtype | |"
    yield "|---|---|---|---|"
    for name, arg in contract.args.items():
        notes = "; ".join(n for n in ("optional" if arg.optional and arg.layouts else "", arg.meaning) if n)
        layouts = " or ".join(f"`{layout}`" for layout in arg.layouts).replace("|", "\\|") or "never passed"
        yield f"| {name} | {layouts} | {', '.join(arg.dtypes) if arg.layouts else ''} | {notes} |"
    limits = [
        f"{n} from {s.minimum} to {s.maximum}" + (f" in steps of {s.multiple}" if s.multiple > 1 else "")
        for n, s in contract.sizes.items()
    ]
    limits += [f"{a} a multiple of {b}" for a, b in contract.multiples]
    limits += [f"one dtype for {', '.join(contract.same_dtype)}"] if contract.same_dtype else []
    limits += [f"`{n}` one of {', '.join(map(repr, allowed))}" for n, allowed in contract.options.items()]
    limits += [(contract.rule.__doc__ or "").rstrip(".")] if contract.rule is not None else []
    yield ""
    yield f"Limits: {'; '.join(limits)}."
    if contract.outputs:
        yield ""
        yield "Outputs: " + ", ".join(f"`{o}`" for o in contract.outputs) + "."
    yield ""


def document() -> str:
    """All contracts as markdown."""
    faces = (attention.CONTRACT, rms_norm.CONTRACT, rotary.CONTRACT)
    return "\n".join(line for c in (*contracts.CONTRACTS.values(), *faces) for line in describe(c))


if __name__ == "__main__":
    print(document())
