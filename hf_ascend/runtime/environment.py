"""The versions report behind `hf-ascend env`: read from package metadata, so nothing heavy is imported."""

import os
import platform
import re
import warnings
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hf_ascend.runtime.device import choose_device, find_cann

TESTED: dict[str, tuple[str, ...]] = {
    "python": ("3.11",),
    "mindspore": ("2.10",),
    "transformers": ("5.3", "5.15", "5.23", "5.24"),
    "torch": ("2.13",),
}
"""The releases (major.minor) that tests ran on, on CPU: the whole suite on the release that constraints.txt names, and
on the other releases of transformers the sample of `hf-ascend conformance --sample`, with PyTorch on the same release
beside it. No CANN release is among them: nothing has run on an NPU yet."""

PACKAGES = (
    "transformers",
    "torch",
    "accelerate",
    "safetensors",
    "huggingface-hub",
    "tokenizers",
    "peft",
    "trl",
    "numpy",
)


@dataclass(frozen=True)
class Environment:
    """What `report` found; a version is None when the package, or CANN, is not there."""

    hf_ascend: str | None
    python: str
    platform: str
    mindspore: str | None
    packages: dict[str, str | None]
    cann: str | None
    cann_path: str | None
    device: str | None
    device_why: str
    untested: tuple[str, ...]

    @property
    def tested(self) -> bool:
        """Whether every version is one that the tests ran on."""
        return not self.untested

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**asdict(self), "tested": self.tested}


def version_of(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cann_version(root: Path) -> str | None:
    """The version in a CANN installation's own files, or None when none of them tells."""
    for file in ("version.cfg", "version.info", "compiler/version.info", "runtime/version.info"):
        try:
            text = (root / file).read_text(errors="replace")
        except OSError:
            continue
        if found := re.search(r"(?i)version\w*\s*=\s*\[?\"?(?:\d+\.\d+[.\w]*:)?(\d+\.\d+[.\w]*)", text):
            return found[1]
    return None


class UntestedWarning(UserWarning):
    """A version that the tests did not run on is in use."""


def is_tested(name: str, version: str) -> bool:
    """Whether the tests ran on this version's release of `name`, a key of TESTED."""
    return ".".join(version.split(".")[:2]) in TESTED[name]


def warn_untested(name: str, version: str | None) -> None:
    """Warn when the tests did not run on this version of `name`; everything goes on."""
    if version is not None and not is_tested(name, version):
        warnings.warn(
            f"hf_ascend was not tested with {name} {version} (tested: {', '.join(TESTED[name])}). It goes on; "
            "`hf-ascend conformance --sample` compares this combination with PyTorch. PYTHONWARNINGS='ignore:hf_ascend "
            "was not tested' silences this.",
            UntestedWarning,
            stacklevel=2,
        )


def _untested(found: dict[str, str | None], device: str | None, cann: str | None) -> tuple[str, ...]:
    out = []
    for name, releases in TESTED.items():
        version = found[name]
        if version is None:
            out.append(f"{name} is not installed")
        elif not is_tested(name, version):
            out.append(f"{name} {version} (tested: {', '.join(releases)})")
    if device is None:
        out.append("no device could be chosen")
    if device == "Ascend":
        out.append(f"the Ascend device with CANN {cann or 'of unknown version'} (tests ran on CPU only)")
    return tuple(out)


def report() -> Environment:
    """Look at this machine. Never raises: what is missing or misconfigured is part of the report."""
    root = find_cann()
    cann = cann_version(root) if root else None
    try:
        choice = choose_device()
        device, why = choice.target, choice.why
    except ValueError as error:
        device, why = None, str(error)
    versions = {p: version_of(p) for p in PACKAGES}
    found = {"python": platform.python_version(), "mindspore": version_of("mindspore"), **versions}
    return Environment(
        hf_ascend=version_of("hf_ascend"),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        mindspore=found["mindspore"],
        packages=versions,
        cann=cann,
        cann_path=str(root) if root else None,
        device=device,
        device_why=why,
        untested=_untested(found, device, cann),
    )
