"""Saves that are complete or have not happened: written aside, then renamed into place.

A disk that fills up, a killed process or a tensor that cannot be written leaves the earlier checkpoint as
it was. All files of a save go into place together; if one cannot, those already placed are taken back.

`staged` saves files into a folder that may hold others, `staged_folder` makes a whole folder.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}(?P<end>\.safetensors|\.bin)")


def _weights_stem(name: str) -> str | None:
    """Name of the checkpoint a file belongs to: of a shard, an index or a whole one; None for other files."""
    if match := _SHARD.fullmatch(name):
        return match["stem"] + match["end"]
    whole = name.removesuffix(".index.json")
    return whole if whole.endswith((".safetensors", ".bin")) else None


def _replaced(folder: Path, new: list[str]) -> list[str]:
    """Files of an earlier save of the same checkpoint, which the new one leaves without meaning.

    An index beside a single new file, say, or a single file that would be found before new shards.
    """
    stems = {_weights_stem(n) for n in new} - {None}
    return [n for n in os.listdir(folder) if n not in new and _weights_stem(n) in stems]


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        opened = os.open(path, os.O_RDONLY)  # a file or a folder
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextlib.contextmanager
def staged(folder: str | os.PathLike) -> Iterator[Path]:
    """A folder to write into; what is in it goes to `folder` when the block ends, and vanishes if it raises.

    Files of the same name are replaced, and so are weights of an earlier save of the same checkpoint that the
    new files do not replace by name (a different number of shards). Other files stay. Raises OSError when
    something cannot be written; `folder` is then as it was before.
    """
    target = Path(folder)
    existed = target.is_dir()
    target.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".saving-", dir=target))
    fresh, old = aside / "new", aside / "old"
    try:
        fresh.mkdir()
        old.mkdir()
        yield fresh
        _place(fresh, old, target)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):
                target.rmdir()
        if isinstance(error, OSError):
            text = str(error).replace(str(fresh), str(target))
            raise OSError(error.errno, f"nothing was saved to {target}, which is as it was before: {text}") from error
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _place(fresh: Path, old: Path, target: Path) -> None:
    files = sorted(str(p.relative_to(fresh)) for p in fresh.rglob("*") if p.is_file())
    for name in files:
        _sync(fresh / name)
    undo: list[tuple[Path, Path]] = []  # (where it is now, where it was)

    def move(source: Path, destination: Path) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, destination)
        undo.append((destination, source))

    try:
        for name in [*files, *_replaced(target, files)]:
            if (target / name).is_file():
                move(target / name, old / name)
        for name in files:
            move(fresh / name, target / name)
    except BaseException:
        for now, before in reversed(undo):
            os.replace(now, before)
        raise


_LEFTOVER = re.compile(r"_saving-(\d+)-.+")
"""The name of a folder being filled, with the process that fills it. The hub's upload patterns leave out `_*`."""


def _running(pid: int) -> bool:
    if pid == os.getpid():  # a killed process of the same number, as in a restarted container
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def remove_leftovers(parent: str | os.PathLike) -> None:
    """Remove what killed processes left behind when they filled a `staged_folder` below `parent`."""
    for path in Path(parent).glob("_saving-*"):
        if (match := _LEFTOVER.fullmatch(path.name)) and not _running(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def staged_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """A path to make a folder at; one rename makes it `folder` when the block ends, and it vanishes if that raises.

    So `folder` is whole or absent at any moment, also for a process that is killed. An earlier one is replaced with
    all that is in it.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    aside = Path(tempfile.mkdtemp(prefix=f"_saving-{os.getpid()}-", dir=target.parent))
    try:
        fresh = aside / target.name
        yield fresh
        if fresh.is_dir():
            for path in [*fresh.rglob("*"), fresh]:
                _sync(path)
            if target.exists():
                os.replace(target, aside / "old")
            os.replace(fresh, target)
            _sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
