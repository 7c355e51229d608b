"""`hf-ascend generate`: text from a prompt."""

import sys
from typing import Any

from hf_ascend.cli import text
from hf_ascend.cli.app import CommandError


def generate(
    source: text.Source,
    prompt: str | None,
    system: str | None,
    raw: bool,
    options: dict[str, Any],
    seed: int | None,
    stream: bool,
) -> None:
    """Print what the model makes of the prompt, which goes through the chat template if there is one.

    Raises CommandError for a missing prompt, or a system message that cannot be used.
    """
    if prompt is None:
        if sys.stdin.isatty():
            raise CommandError("no prompt; give one as an argument or on the standard input")
        prompt = sys.stdin.read().rstrip("\n")
    if not prompt:
        raise CommandError("the prompt is empty")
    tokenizer, model = text.load(source)
    templated = bool(tokenizer.chat_template) and not raw
    if system and not templated:
        raise CommandError("--system needs a chat template: " + ("drop --raw" if raw else "this tokenizer has none"))
    messages: Any = prompt
    if templated:
        messages = [{"role": "user", "content": prompt}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
    if seed is not None:
        from hf_ascend import set_seed

        set_seed(seed)
    _, speed = text.respond(tokenizer, model, text.prompt_inputs(tokenizer, messages), options, stream)
    if sys.stderr.isatty() and speed.tokens:
        print(f"[{speed}]", file=sys.stderr)
