"""What all tests share: quiet libraries, no network, and models built once for the session."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import dataclasses  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402


@dataclasses.dataclass
class Pair:
    """One checkpoint, loaded by real transformers (`theirs`) and by hf_ascend (`ours`)."""

    name: str
    folder: Path
    theirs: Any
    ours: Any


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """A function from a row of models.MODELS (and another class for its config) to its Pair; made once each."""
    import transformers

    import hf_ascend
    import models

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hf_ascend.transformers.logging.disable_progress_bar()
    made: dict[tuple, Pair] = {}

    def get(name: str, cls: str | None = None, seed: int = 0, **config: Any) -> Pair:
        cls = cls or models.MODELS[name].cls
        key = (name, cls, seed, repr(config))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{cls}")
            models.build(name, seed, cls, **config).save_pretrained(folder)
            theirs = getattr(transformers, cls).from_pretrained(folder).eval()
            ours = getattr(hf_ascend, cls).from_pretrained(folder).eval()
            made[key] = Pair(name, folder, theirs, ours)
        for model in (made[key].ours, made[key].theirs):
            model.zero_grad(set_to_none=True)
        return made[key]

    return get
