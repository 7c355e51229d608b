"""A local checkpoint in both worlds, compared submodule by submodule: `hf-ascend conformance --model`.

1. The class is the one that config.json names; without one, AutoModel.
2. Inputs come from a file (.safetensors or .npz), or are made with the folder's own tokenizer, image processor or
   feature extractor from a sentence, a picture of gradients or a second of tones.
3. Both models run in float32 with the same inputs; `parting.steps` compares every submodule's output.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from hf_ascend.conformance import build, compare, parting

TEXT = "The quick brown fox jumps over the lazy dog."


@dataclasses.dataclass(frozen=True)
class Found:
    """What the comparison gave: the class, the inputs' shapes, every submodule call, and the output as a whole."""

    class_name: str
    inputs: dict[str, tuple[int, ...]]
    steps: list[parting.Step]
    output: str | None
    error: float


def read_inputs(file: Path) -> dict[str, np.ndarray]:
    """Arrays by name. Raises ValueError for a file that is neither .safetensors nor .npz."""
    if file.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(file)
    if file.suffix == ".npz":
        with np.load(file) as found:
            return dict(found)
    raise ValueError(f"--inputs {file}: expected a .safetensors or .npz file of arrays named as forward's arguments")


def make_inputs(folder: Path, config: Any, main: str, text: str) -> dict[str, np.ndarray]:
    """Inputs for a model whose main input is `main`, by the folder's own preprocessors.

    Raises ValueError when there is nothing to make them with.
    """
    import transformers

    options = {"return_tensors": "np"}
    if main == "pixel_values":
        side = np.linspace(0, 255, 224)
        picture = np.stack([np.tile(side, (224, 1)), np.tile(side[:, None], (1, 224)), np.full((224, 224), 128.0)], -1)
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        made = processor(images=picture.astype(np.uint8), return_tensors="pt")
    elif main in ("input_values", "input_features"):
        processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        rate = processor.sampling_rate
        wave = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
        made = processor(wave, sampling_rate=rate, **options)
    else:
        try:
            made = transformers.AutoTokenizer.from_pretrained(folder)(text, **options)
        except (OSError, ValueError, KeyError, TypeError):
            size = getattr(config.get_text_config(), "vocab_size", None)
            if size is None:
                raise ValueError(
                    f"{folder} has no tokenizer, and its config no vocab_size, to make inputs with; give --inputs"
                ) from None
            made = {"input_ids": np.random.RandomState(0).randint(0, size, (1, 12))}
    arrays = {k: np.asarray(v) for k, v in made.items()}
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" not in arrays:
        start = getattr(config, "decoder_start_token_id", None)
        arrays["decoder_input_ids"] = np.full((1, 4), 0 if start is None else start, np.int64)
    return arrays


def _class(config: Any, transformers: Any) -> Any:
    for name in config.architectures or ():
        if hasattr(transformers, name):
            return getattr(transformers, name)
    return transformers.AutoModel


def run(folder: Path, inputs: Path | None, text: str, tolerance: float, trust_remote_code: bool) -> Found:
    """Compare the checkpoint in `folder`.

    Raises FileNotFoundError when there is none, ValueError for inputs that cannot be read or made.
    """
    import torch
    import transformers

    import hf_ascend

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"--model {folder}: no config.json there; give the folder of a checkpoint")
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    models = []
    for world, t in ((hf_ascend.transformers, hf_ascend.torch), (transformers, torch)):
        auto = _class(config, importlib.import_module(world.__name__))
        extra = {"trust_remote_code": True} if trust_remote_code else {}
        models.append(auto.from_pretrained(folder, dtype=t.float32, **extra).eval())
    ours, theirs = models
    arrays = read_inputs(inputs) if inputs else make_inputs(folder, config, theirs.main_input_name, text)

    def call(model: Any, t: Any) -> Any:
        t.manual_seed(0)
        with t.no_grad():
            return model(**build.tensors(arrays, t))

    steps = parting.steps(ours, theirs, lambda: call(ours, hf_ascend.torch), lambda: call(theirs, torch), tolerance)
    message, error = None, 0.0
    try:
        error = compare.outputs(call(ours, hf_ascend.torch), call(theirs, torch), tolerance).error
    except compare.MismatchError as mismatch:
        message, error = str(mismatch), mismatch.error or float("inf")
    shapes = {k: tuple(v.shape) for k, v in arrays.items()}
    return Found(type(theirs).__name__, shapes, steps, message, error)
