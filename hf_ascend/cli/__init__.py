"""The command line, `hf-ascend`.

`app`      the commands and their options; `_run` their errors.
`text`     loading a model for text, prompts and streaming, for `generate` and `chat`.
`generate`, `chat`, `env`: one module per command, imported when it is called.
`demo`     what `make demo` runs.

Importing this package, and `hf-ascend --help`, imports neither torch nor mindspore.
"""


def main() -> None:
    """The entry point of the installed command `hf-ascend`."""
    from hf_ascend.cli.app import app

    app(prog_name="hf-ascend")
