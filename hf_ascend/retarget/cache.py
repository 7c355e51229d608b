"""Compiled code of rewritten modules, kept in the user's cache folder.

An entry is valid for one source file's path, size and modification time, one Python and one set of
rules. `HF_ASCEND_CACHE` moves the folder (default: $XDG_CACHE_HOME/hf_ascend or ~/.cache/hf_ascend).
Python's own switch against writing .pyc files does not apply, because nothing is written next to sources.
"""

import hashlib
import importlib.util
import marshal
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType


def cache_dir() -> Path:
    """The folder for everything hf_ascend keeps between runs."""
    if explicit := os.environ.get("HF_ASCEND_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf_ascend"


def cached_code(filename: str, salt: str, build: Callable[[], CodeType]) -> CodeType:
    """The code object of `filename`, from the cache or from `build()`. `salt` stands for the rules in force."""
    stat = os.stat(filename)
    key = hashlib.sha256(f"{filename}\0{stat.st_size}\0{stat.st_mtime_ns}\0{salt}".encode()).digest()
    name = hashlib.sha256(filename.encode()).hexdigest()[:32]
    path = cache_dir() / "code" / importlib.util.MAGIC_NUMBER[:2].hex() / name
    header = importlib.util.MAGIC_NUMBER + key
    try:
        data = path.read_bytes()
        if data.startswith(header):
            return marshal.loads(data[len(header) :])
    except (OSError, ValueError, EOFError, TypeError):
        pass  # absent, unreadable or damaged: built anew and written over
    code = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as out:
            out.write(header + marshal.dumps(code))
        os.replace(out.name, path)
    except OSError:
        pass  # a read-only or full disk only costs the next import its speed
    return code
