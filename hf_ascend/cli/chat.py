"""`hf-ascend chat`: a conversation, streamed."""

import sys
from typing import Any

from hf_ascend.cli import text
from hf_ascend.cli.app import CommandError

_HELP = "/clear forgets the conversation, /exit (or Ctrl-D) leaves."


def chat(source: text.Source, system: str | None, options: dict[str, Any], seed: int | None) -> None:
    """Read turns from the standard input until its end or /exit, and print each answer as it comes.

    Raises CommandError when the tokenizer has no chat template.
    """
    from rich.console import Console

    console = Console(highlight=False)
    tokenizer, model = text.load(source)
    if not tokenizer.chat_template:
        raise CommandError(f"{source.model}: the tokenizer has no chat template; use `hf-ascend generate`")
    if seed is not None:
        from hf_ascend import set_seed

        set_seed(seed)
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    console.print(f"[dim]{_HELP}[/dim]")
    while (turn := _ask()) is not None:
        if turn == "/clear":
            messages = list(start)
        elif turn.startswith("/"):
            console.print(f"[dim]unknown command {turn.split()[0]}; {_HELP}[/dim]", markup=True)
        elif turn:
            messages.append({"role": "user", "content": turn})
            try:
                answer, speed = text.respond(tokenizer, model, text.prompt_inputs(tokenizer, messages), options, True)
            except KeyboardInterrupt:  # stops this answer, not the conversation
                messages.pop()
                print()
                continue
            messages.append({"role": "assistant", "content": answer})
            console.print(f"[dim]\\[{speed}][/dim]")


def _ask() -> str | None:
    """One turn, or None at the end of the conversation."""
    try:
        turn = input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    return None if turn in ("/exit", "/quit") else turn
