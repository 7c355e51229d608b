"""Other releases of transformers, each in a folder of the user's cache that goes before the installed packages.

The folder holds transformers alone and those of its requirements that the installed packages do not meet
(an older release may want an older tokenizers); everything else is what is installed.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from rich.console import Console

from hf_ascend.cli.app import CommandError
from hf_ascend.retarget.cache import cache_dir

_ROUNDS = 5  # of looking at what a requirement requires itself


def overlay(release: str, console: Console) -> tuple[str, str | None]:
    """(release, folder) of a release of transformers, installed there on first use; no folder for the installed one.

    Raises CommandError when pip cannot install it; then nothing is left behind.
    """
    try:
        wanted = str(Version(release))
    except InvalidVersion:
        raise CommandError(f"--transformers-version {release}: not a version; give one such as 5.15.1") from None
    if wanted == metadata.version("transformers"):
        return wanted, None
    folder = cache_dir() / f"transformers-{wanted}"
    if folder.is_dir():
        return wanted, str(folder)
    console.print(f"Installing transformers {wanted} into {folder}", soft_wrap=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".transformers-{wanted}-", dir=folder.parent))
    try:
        _install([f"transformers=={wanted}"], aside, wanted)
        for _ in range(_ROUNDS):
            more = sorted(set(unmet(aside)))
            if not more:
                break
            console.print(f"It wants {', '.join(more)}", soft_wrap=True)
            _install(more, aside, wanted)
        if not folder.exists():  # another process may have been faster
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return wanted, str(folder)


def _install(requirements: list[str], folder: Path, release: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()] or ["pip failed"]
        told = next((line for line in reversed(errors) if line.startswith("ERROR: ")), errors[-1])
        raise CommandError(f"--transformers-version {release}: {told.removeprefix('ERROR: ')}")


def unmet(folder: Path) -> Iterator[str]:
    """Requirements of the distributions in `folder` that neither they nor the installed packages meet."""
    here = {canonicalize_name(d.metadata["Name"]): d for d in metadata.distributions(path=[str(folder)])}
    for found in here.values():
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(requirement.name)
            try:
                version = here[name].version if name in here else metadata.version(name)
            except metadata.PackageNotFoundError:
                version = None
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                yield f"{name}{requirement.specifier}"
