"""The catalogue: tiny configurations of transformers' architectures, as data.

`catalog.json.gz` holds one entry for each pair of a model type and a class of the auto mappings. An entry has the
keyword arguments of the config class, descriptions of inputs and labels (see `build.materialize`), and what real
transformers did with them: whether the loss gives gradients (`train`), whether the class generates (`generate`).
"""

import dataclasses
import fnmatch
import functools
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

FILE = Path(__file__).with_name("catalog.json.gz")
CHECKS = ("forward", "gradients", "generate", "save", "kernels")  # what each does is in `checks`
SAMPLE = Path(__file__).with_name("sample.json")
OLDER = Path(__file__).with_name("older.json")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One architecture's configuration; `name` is "model_type/ClassName"."""

    name: str
    facts: dict[str, Any]

    @property
    def model_type(self) -> str:
        """Its config class's model_type."""
        return self.facts["model_type"]

    @property
    def class_name(self) -> str:
        """The model class."""
        return self.facts["class"]

    @property
    def task(self) -> str:
        """Its primary auto mapping, such as CAUSAL_LM."""
        return self.facts["auto"]

    def config(self, release: str) -> dict[str, Any]:
        """The keyword arguments of its config class in that release of transformers."""
        arguments = dict(self.facts["config"])
        for row in _older():
            if any(fnmatch.fnmatchcase(self.name, p) for p in row["entries"]) and release in row["range"]:
                arguments |= row["config"]
        return arguments

    @property
    def seed(self) -> int:
        """The seed of weights and inputs."""
        return self.facts["seed"]

    @property
    def trains(self) -> bool:
        """Whether it gives a loss from labels, with finite gradients."""
        return bool(self.facts["train"])

    @property
    def generates(self) -> bool:
        """Whether `generate` works on it."""
        return bool(self.facts["generate"])

    @property
    def requires(self) -> tuple[str, ...]:
        """Packages that it needs beside transformers, which uses timm only where torchvision is installed, too."""
        named = tuple(self.facts.get("requires") or ())
        return (*named, "torchvision") if "timm" in named else named


@functools.cache
def _older() -> tuple[dict[str, Any], ...]:
    return tuple({**row, "range": SpecifierSet(row["transformers"])} for row in json.loads(OLDER.read_text()))


@functools.cache
def _whole() -> dict[str, Any]:
    with gzip.open(FILE) as file:
        return json.load(file)


def release() -> str:
    """The release of transformers that the entries were made with."""
    return _whole()["transformers"]


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries by name, in the catalogue's order."""
    facts = _whole()["entries"]
    return {e.name: e for e in (Entry(f"{f['model_type']}/{f['class']}", f) for f in facts)}


def sample() -> list[str]:
    """Names of the entries that the test suite runs: all modalities and kinds of layer."""
    return list(json.loads(SAMPLE.read_text()))


def select(patterns: Iterable[str]) -> list[str]:
    """Names that match any of the patterns, in the catalogue's order; no pattern selects all.

    A pattern is a model type ("qwen3"), a class ("BertForMaskedLM"), a task ("CAUSAL_LM"), or a shell pattern on
    the name ("qwen*/*ForCausalLM"). Raises ValueError for a pattern that nothing matches.
    """
    wanted: set[str] = set()
    patterns = list(patterns)
    for pattern in patterns:
        found = {
            e.name
            for e in entries().values()
            if pattern in (e.model_type, e.class_name, e.task) or fnmatch.fnmatchcase(e.name, pattern)
        }
        if not found:
            raise ValueError(
                f"--filter {pattern!r} matches no entry: give a model type (qwen3), a class (BertForMaskedLM), a "
                "task (CAUSAL_LM) or a shell pattern on type/class ('qwen*/*ForCausalLM')"
            )
        wanted |= found
    return [name for name in entries() if not patterns or name in wanted]
