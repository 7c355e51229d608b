"""What `generate` and `chat` share: finding and loading a model, sampling options, streaming with a stopwatch."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ascend.cli.app import CommandError

_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Source:
    """Where a model comes from: `model` is a folder, a .gguf file or a hub id."""

    model: str
    gguf_file: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False

    def resolve(self) -> tuple[str, dict[str, Any]]:
        """(name or path, keyword arguments) for from_pretrained. Raises CommandError when it cannot exist."""
        if self.dtype not in _DTYPES:
            raise CommandError(f"--dtype {self.dtype}: expected one of {', '.join(_DTYPES)}")
        options: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if self.revision:
            options["revision"] = self.revision
        path = Path(self.model).expanduser()
        if path.is_file():
            if path.suffix != ".gguf":
                raise CommandError(
                    f"{path} is a file; expected a model's folder, a .gguf file or a model id of the hub"
                )
            return str(path.parent), {**options, "gguf_file": path.name}
        if path.is_dir():
            return str(path), {**options, **self._in_folder(path)}
        if self.model.startswith((".", "/", "~")) or self.model.count("/") > 1 or path.suffix == ".gguf":
            raise CommandError(f"{self.model}: no such file or folder")
        return self.model, {**options, "gguf_file": self.gguf_file} if self.gguf_file else options

    def _in_folder(self, folder: Path) -> dict[str, str]:
        if self.gguf_file:
            if not (folder / self.gguf_file).is_file():
                raise CommandError(f"{folder / self.gguf_file}: no such file")
            return {"gguf_file": self.gguf_file}
        if (folder / "config.json").is_file():
            return {}
        found = sorted(p.name for p in folder.glob("*.gguf"))
        if len(found) == 1:
            return {"gguf_file": found[0]}
        if found:
            raise CommandError(f"{folder} has several GGUF files; choose one with --gguf-file: {', '.join(found)}")
        raise CommandError(f"{folder} has neither a config.json nor a .gguf file, so it is not a model's folder")


def load(source: Source) -> tuple[Any, Any]:
    """(tokenizer, model in eval mode) of a source.

    Raises CommandError, OSError, ValueError or ImportError with a message that names what is wrong.
    """
    name, options = source.resolve()
    quiet()
    from hf_ascend import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(name, **options)
        auto = AutoModelForSeq2SeqLM if getattr(config, "is_encoder_decoder", False) else AutoModelForCausalLM
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        # With the config at hand, a GGUF file is parsed once less.
        return tokenizer, auto.from_pretrained(name, config=config, dtype=source.dtype, **options).eval()
    except (OSError, ValueError) as error:
        if source.model in str(error):
            raise
        raise CommandError(f"{source.model}: {error}") from error


def quiet() -> None:
    """Without a terminal, or with TRANSFORMERS_VERBOSITY unset, only errors of upstream are shown."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        from hf_ascend.transformers.utils import logging

        logging.set_verbosity_error()


def sampling(
    sample: bool | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    repetition_penalty: float | None,
    max_new_tokens: int,
    num_beams: int = 1,
) -> dict[str, Any]:
    """Keyword arguments of `generate`; what is None is left to the model's generation config.

    Raises CommandError for options that contradict each other.
    """
    drawn = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    given = {k: v for k, v in drawn.items() if v is not None}
    if temperature == 0:  # the usual way to ask for the likeliest token
        given, sample = {}, False
    if given and sample is False:
        raise CommandError(f"--greedy contradicts {', '.join('--' + k.replace('_', '-') for k in given)}")
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, **given}
    if given or sample is not None:
        options["do_sample"] = bool(given) or sample
    if repetition_penalty is not None:
        options["repetition_penalty"] = repetition_penalty
    if num_beams > 1:
        options["num_beams"] = num_beams
    return options


def prompt_inputs(tokenizer: Any, messages: list[dict[str, str]] | str) -> dict[str, Any]:
    """Model inputs: a conversation through the tokenizer's chat template, a string as it is."""
    if isinstance(messages, str):
        encoded = tokenizer(messages, return_tensors="pt")
    else:
        encoded = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    return {k: v for k, v in encoded.items() if k != "token_type_ids"}


@dataclass
class Speed:
    """What one call of `generate` took."""

    tokens: int = 0
    started: float = 0.0
    first: float = 0.0
    last: float = 0.0

    def __str__(self) -> str:
        if self.tokens < 2 or self.last <= self.first:
            return f"{self.tokens} token{'s' * (self.tokens != 1)}"
        rate = (self.tokens - 1) / (self.last - self.first)
        return f"{self.tokens} tokens, {rate:.1f} tokens/s, first after {self.first - self.started:.2f} s"


class Stopwatch:
    """A streamer for `generate`: prints the answer as it comes (if `show`) and measures `speed`.

    The prompt's tokens are neither printed nor counted.
    """

    def __init__(self, tokenizer: Any, show: bool = True):
        from hf_ascend import TextStreamer

        self.speed = Speed(started=time.perf_counter())
        self._printer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True) if show else None
        self._is_prompt = True

    def put(self, value: Any) -> None:
        """Called by `generate`: once with the prompt, then with each new token."""
        if not self._is_prompt:
            self.speed.last = time.perf_counter()
            self.speed.first = self.speed.first or self.speed.last
            self.speed.tokens += 1
        self._is_prompt = False
        if self._printer:
            self._printer.put(value)

    def end(self) -> None:
        """Called by `generate` after the last token."""
        if self._printer:
            self._printer.end()


def respond(
    tokenizer: Any, model: Any, inputs: dict[str, Any], options: dict[str, Any], stream: bool
) -> tuple[str, Speed]:
    """Generate and print, as the tokens come if `stream`. Returns (the new text, the speed)."""
    watch = Stopwatch(tokenizer, stream) if options.get("num_beams", 1) == 1 else None
    out = model.generate(**inputs, **options, streamer=watch)
    new = out[0] if model.config.is_encoder_decoder else out[0][inputs["input_ids"].shape[-1] :]
    text = tokenizer.decode(new, skip_special_tokens=True)
    if watch is None or not stream:
        print(text)
    return text, watch.speed if watch else Speed()
