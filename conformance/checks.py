"""The five checks of an entry, in this order.

1. forward    every tensor of the output, nested ones too
2. gradients  the loss and every parameter's gradient; for classes without labels the main output's mean after
              multiplication by random numbers takes the place of a loss
3. generate   greedy tokens
4. save       save_pretrained here, reloaded in real transformers: weights and outputs bit for bit
5. kernels    forward and gradients once more on the Ascend code path (kernels emulated), where a fused kernel is used,
              held against PyTorch with attention rounded to the same dtype

`run` builds the model with real transformers, saves it, loads the folder in both worlds and gives one Result per check.
"""

import contextlib
import dataclasses
import random
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hf_ascend.conformance import build, compare, conditioning, parting, rounding
from hf_ascend.conformance.catalog import CHECKS, Entry
from hf_ascend.conformance.rounding import plain_attention, rounded_attention

NEW_TOKENS = 3

# On the emulated Ascend path attention rounds to float16 without gradients and to bfloat16 with them: 8 roundings of
# either, and one for a loss that averages (docs/KERNELS.md derives them).
EMULATED_OUTPUT = 2.0**-8
EMULATED_GRADIENT = compare.Measure(2.0**-5, 2.0**-5, lambda x: float(np.linalg.norm(x)))


_INSTALLED = re.compile(r"^.*/(?:site-packages|transformers-\d[\w.]*)/")  # where packages and overlays lie


Compute = Callable[[], dict[str, np.ndarray]]
Norm = Callable[[np.ndarray], float]


@dataclasses.dataclass
class Result:
    """What one check found.

    status   "match", "differ" (a value), "error" (an exception here), "reference" (PyTorch's own side fails or cannot
             be compared with), "none" (the check does not apply)
    error    the largest difference as a share of what is allowed
    message  what differs, or the exception
    conditioned  true where it took the movement of PyTorch's own result to agree (see `conditioning`)
    where    the first submodule whose output departs, or the source line that raised
    """

    status: str
    error: float | None = None
    message: str | None = None
    where: str | None = None
    tensors: int | None = None
    conditioned: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Without the fields that are not set."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


class World:
    """One side: a torch, a transformers, and the entry's model loaded from the folder."""

    def __init__(self, torch: Any, transformers: Any, entry: Entry, seed: int):
        self.torch, self.transformers, self.seed = torch, transformers, seed
        self.cls = build.model_class(entry, transformers)
        self.model: Any = None

    def load(self, folder: Path) -> None:
        """The model from a folder."""
        self.sow()
        self.model = self.cls.from_pretrained(folder, dtype=self.torch.float32).eval()

    def copy(self, built: Any) -> None:
        """The model from one of real transformers in memory, for classes that cannot load what they save."""
        self.sow()
        self.model = self.cls(built.config).float().eval()
        self.model.load_state_dict({k: self.torch.from_numpy(v.numpy().copy()) for k, v in built.state_dict().items()})

    def sow(self) -> None:
        """The same random numbers in both worlds, for models that draw some in eval mode."""
        self.torch.manual_seed(self.seed)
        np.random.seed(self.seed)
        random.seed(self.seed)

    def forward(self, arrays: dict[str, Any]) -> Any:
        """The model's output on arrays."""
        self.sow()
        return self.model(**build.tensors(arrays, self.torch))

    def inference(self, arrays: dict[str, Any]) -> Any:
        """The same without recording gradients."""
        with self.torch.no_grad():
            return self.forward(arrays)

    def objective(self, arrays: dict[str, Any], main: str | None) -> Any:
        """The loss; without labels, the mean of the tensor at path `main` times random numbers.

        Random, because many outputs are normalised: the gradient of their mean or mean square is zero but for rounding.
        """
        self.model.zero_grad(set_to_none=True)
        output = self.forward(arrays)
        if main is None:
            loss = getattr(output, "loss", None)
            loss = loss if loss is not None else output[0]
            return loss if loss.dim() == 0 else loss.mean()
        value = dict(compare.walk(output))[main].float()
        weights = np.random.RandomState(self.seed).standard_normal(tuple(value.shape)).astype(np.float32)
        return (value * self.torch.from_numpy(weights)).mean()

    def generate(self, arrays: dict[str, Any], options: dict[str, Any]) -> Any:
        """Greedy tokens."""
        self.sow()
        with self.torch.no_grad():
            return self.model.generate(**build.tensors(arrays, self.torch), **options)


@contextlib.contextmanager
def _theirs() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise compare.ReferenceError(f"{type(error).__name__}: {error}") from error


def _source_line(error: BaseException) -> str:
    """The innermost line outside this package's conformance code, shortened to what follows the folder of packages."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "conformance" not in f.filename]
    if not frames:
        return ""
    upstream = [f for f in frames if "/transformers/" in f.filename and "/shims/" not in f.filename]
    shown = [upstream[-1], frames[-1]] if upstream and upstream[-1] is not frames[-1] else [frames[-1]]
    return " < ".join(f"{_INSTALLED.sub('', f.filename).split('/main/')[-1]}:{f.lineno}" for f in shown[::-1])


def _clip(text: str, most: int = 500) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _attempt(check: Callable[[], compare.Agreement | None]) -> Result:
    """Run a check and turn how it ends into a Result."""
    try:
        found = check()
    except compare.ReferenceError as error:
        return Result("reference", message=_clip(str(error)))
    except compare.MismatchError as error:
        return Result("differ", error.error, _clip(str(error)), getattr(error, "where", None))
    except Exception as error:
        return Result("error", message=_clip(f"{type(error).__name__}: {error}"), where=_source_line(error))
    return (
        Result("none")
        if found is None
        else Result("match", found.error, tensors=found.tensors, conditioned=found.conditioned or None)
    )


class Subject:
    """An entry with its inputs and its model in both worlds."""

    def __init__(self, entry: Entry, folder: Path, seed: int):
        import torch
        import transformers

        import hf_ascend

        self.entry, self.folder, self.seed = entry, folder, seed
        facts = entry.facts
        self.arrays = build.materialize(facts["inputs"], seed)
        labels = facts["labels"]
        self.labelled = {**self.arrays, **build.materialize(labels or {}, seed)}
        self.has_loss = labels is not None and entry.trains
        self.main = facts["output"]["name"].removeprefix("out").removeprefix(".")  # the catalogue's name for tuples
        with _theirs():
            built = build.model(entry, seed)
            built.save_pretrained(folder / "given")
            self.theirs = World(torch, transformers, entry, seed)
            try:
                self.theirs.load(folder / "given")
                self.loads = True
            except Exception:
                self.theirs.copy(built)
                self.loads = False
        self.ours = World(hf_ascend.torch, hf_ascend.transformers, entry, seed)
        if self.loads:
            self.ours.load(folder / "given")
        else:
            self.ours.copy(built)

    def forward(self) -> compare.Agreement:
        """Check 1."""
        with _theirs():
            want = self.theirs.inference(self.arrays)
        got = self.ours.inference(self.arrays)
        try:
            return self._outputs(got, want)
        except compare.MismatchError as error:
            found = parting.first(
                self.ours.model,
                self.theirs.model,
                lambda: self.ours.inference(self.arrays),
                lambda: self.theirs.inference(self.arrays),
            )
            error.where = str(found) if found else "after the last submodule"
            raise

    def _outputs(self, got: Any, want: Any) -> compare.Agreement:
        """Compare outputs; what exceeds the tolerance, with the movement of PyTorch's own."""
        try:
            return compare.outputs(got, want)
        except compare.MismatchError as error:
            if error.error is None:
                raise
        theirs = self.theirs

        def compute() -> dict[str, np.ndarray]:
            return compare.floats(theirs.inference(self.arrays))

        moved = conditioning.movement(theirs.model, compute, compare.largest)
        found = compare.outputs(got, want, slack=_twice(moved))
        return dataclasses.replace(found, conditioned=True)

    def _gradients(self, got: Any, want: Any) -> compare.Agreement:
        """Compare (loss, gradients) pairs; what exceeds the tolerance, with the movement of PyTorch's own."""

        def attempt(slack: dict[str, float]) -> compare.Agreement:
            # The loss may be far below 1: it is held against its own size. A mean that stands in for one cancels.
            if self.has_loss:
                compare.arrays("loss", got[0], want[0], compare.OUTPUT, 1e-3, slack.get("loss", 0.0))
            return compare.gradients(got[1], want[1], slack=slack)

        try:
            return attempt({})
        except compare.MismatchError as error:
            if error.error is None:
                raise

        moved = conditioning.movement(self.theirs.model, self._losses_and_gradients, compare.EXACT.norm)
        return dataclasses.replace(attempt(_twice(moved)), conditioned=True)

    def _trained(self, world: World) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(loss, gradient of each parameter) of one world."""
        arrays, main = (self.labelled, None) if self.has_loss else (self.arrays, self.main)
        loss = world.objective(arrays, main)
        loss.backward()
        return compare.array(loss), compare.gradients_of(world.model)

    def gradients(self) -> compare.Agreement | None:
        """Check 2."""
        if not (self.has_loss or self.entry.facts["grad"]):
            return None
        with _theirs():
            want = self._trained(self.theirs)
        return self._gradients(self._trained(self.ours), want)

    def generate(self) -> compare.Agreement | None:
        """Check 3."""
        if not self.entry.generates:
            return None
        facts = self.entry.facts
        arrays = {k: v for k, v in self.arrays.items() if k not in facts.get("generate_drop", ())}
        options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, **facts.get("generate_kwargs", {})}
        with _theirs():
            want = self.theirs.generate(arrays, options)
        return compare.outputs({"generated": self.ours.generate(arrays, options)}, {"generated": want})

    def save(self) -> compare.Agreement:
        """Check 4."""
        saved = self.folder / "saved"
        self.ours.model.save_pretrained(saved)
        if not self.loads:
            return self._files(saved)
        again = World(self.theirs.torch, self.theirs.transformers, self.entry, self.seed)
        try:
            again.load(saved)
        except Exception as error:
            raise compare.MismatchError(f"real transformers cannot load it: {type(error).__name__}: {error}") from error
        try:
            _same_bits(again.model.state_dict(), self.theirs.model.state_dict())
        except compare.MismatchError:
            # A few classes do not survive a round trip in upstream itself: then the files must be the same.
            self.theirs.model.save_pretrained(self.folder / "given")
            return self._files(saved)
        with _theirs():
            first = self.theirs.inference(self.arrays)
        return compare.outputs(again.inference(self.arrays), first, 0.0)

    def _files(self, saved: Path) -> compare.Agreement:
        """Compare the weight files instead: real transformers cannot load its own for this class, or not truly."""
        from safetensors.torch import load_file

        want, got = (
            {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}
            for folder in (self.folder / "given", saved)
        )
        _same_bits(got, want)
        return compare.Agreement(len(want), 0.0)

    def kernels(self) -> compare.Agreement | None:
        """Check 5.

        PyTorch's result depends on how the roundings of its attention fall: it is computed without any, and with
        others (`rounded_attention(seed)`). Ours may differ by twice the largest movement: where a rounding tips a
        choice of experts or the sign before a ReLU, there is no smaller measure.
        """
        from hf_ascend import kernels

        kernels.reset_report()
        with kernels.use("emulated"):
            got = self.ours.inference(self.arrays)
        report = kernels.report()
        if not any(report[k]["calls"].get("cann") for k in kernels.KERNELS):
            return None
        with _theirs(), rounded_attention():
            want = self.theirs.inference(self.arrays)
            outputs = compare.floats(want)
            moved = self._rounding_moves(
                outputs, lambda: compare.floats(self.theirs.inference(self.arrays)), compare.largest
            )
        found = compare.outputs(got, want, EMULATED_OUTPUT, _twice(moved))
        if not (self.has_loss or self.entry.facts["grad"]):
            return found
        with kernels.use("emulated"):
            loss, gradients = self._trained(self.ours)
        with _theirs(), rounded_attention():
            wanted = self._losses_and_gradients()
            moved = self._rounding_moves(wanted, self._losses_and_gradients, EMULATED_GRADIENT.norm)
        if self.has_loss:
            compare.arrays("loss", loss, wanted["loss"], EMULATED_OUTPUT, 1e-3, 2 * moved["loss"])
        del wanted["loss"]
        agreed = compare.gradients(gradients, wanted, EMULATED_GRADIENT, _twice(moved))
        return max(found, agreed, key=lambda f: f.error)

    def _losses_and_gradients(self) -> dict[str, np.ndarray]:
        loss, gradients = self._trained(self.theirs)
        return {"loss": loss, **gradients}

    def _rounding_moves(self, base: dict[str, np.ndarray], compute: Compute, norm: Norm) -> dict[str, float]:
        """Name -> how far PyTorch's result is from `base` without roundings, and with others, at most."""
        others = [_inside(plain_attention(), compute)]
        others += [_inside(rounded_attention(seed), compute) for seed in range(rounding.DRAWS)]
        return conditioning.largest_change(base, others, norm)


def _inside(context: contextlib.AbstractContextManager, compute: Compute) -> dict[str, np.ndarray]:
    """`compute()` inside a context."""
    with context:
        return compute()


def _twice(movement: dict[str, float]) -> dict[str, float]:
    return {k: 2 * v for k, v in movement.items()}


def _same_bits(got: dict[str, Any], want: dict[str, Any]) -> None:
    """Raises MismatchError unless both have the same names, dtypes and bits."""
    if want.keys() != got.keys():
        raise compare.MismatchError(f"names differ: {sorted(want.keys() ^ got.keys())[:5]}")
    for key, value in want.items():
        if value.dtype != got[key].dtype or not np.array_equal(_bits(value), _bits(got[key])):
            raise compare.MismatchError(f"{key} is not the same bit for bit")


def _bits(tensor: Any) -> np.ndarray:
    """A real tensor's bytes: NaN and -0.0 count too."""
    import torch

    return tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy() if tensor.numel() else np.zeros(0)


def run(entry: Entry, checks: tuple[str, ...] = CHECKS, seed: int | None = None) -> dict[str, Any]:
    """All `checks` of one entry: {"name", "seconds", "checks": {check: result}, "fallbacks": {operator: calls}}."""
    from hf_ascend import runtime

    started, results, folder = time.perf_counter(), {}, Path(tempfile.mkdtemp(prefix="conformance-"))
    runtime.reset_fallbacks()
    fallbacks: dict[str, int] = {}
    try:
        made: list[Subject] = []
        loading = _attempt(lambda: made.append(Subject(entry, folder, entry.seed if seed is None else seed)))
        for check in checks:
            if not made:
                results[check] = dataclasses.replace(loading)
                continue
            results[check] = _attempt(getattr(made[0], check))
            if check == "forward" or check == "gradients":
                fallbacks |= runtime.fallbacks()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "name": entry.name,
        "seconds": round(time.perf_counter() - started, 2),
        "checks": {k: r.as_dict() for k, r in results.items()},
        "fallbacks": fallbacks,
    }
