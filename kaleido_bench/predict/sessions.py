"""The circumstances of a call that makes predictions, for run.json. None of them may change a number."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from kaleido_bench import __version__
from kaleido_bench.items import Deviations
from kaleido_bench.predictions import Session

# Packages whose version may show in a pixel, or in the time it took.
PACKAGES = ("numpy", "pillow", "torch", "pydantic", "safetensors")


class GitState(NamedTuple):
    """The commit the harness was run from, and whether files differed from it; None outside a checkout."""

    commit: str | None
    dirty: bool | None


def describe_session(command: Sequence[str], device: str, deviations: Deviations, now: datetime) -> Session:
    """What there is to say about this call.

    Args:
        command: the words of the command line.
        device: the device of the (first) worker.
        deviations: what the call leaves out of its protocol.
        now: its start, in any time zone.
    """
    git = read_git_state(Path(__file__).resolve().parent)
    return Session(
        started=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        command=tuple(command),
        device=describe_device(device),
        precision=describe_precision(),
        versions=read_versions(),
        git_commit=git.commit,
        git_dirty=git.dirty,
        deviations=deviations,
    )


def read_versions() -> dict[str, str]:
    """Package -> version, of this program, Python and what it computes with. Imports none of them."""
    versions = {"kaleido-bench": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def describe_device(device: str) -> str:
    """A device with its name where it has one: `cuda:0 (NVIDIA H100 80GB HBM3)`, `cpu (AMD EPYC 9654, x86_64)`."""
    if not device.startswith("cuda"):
        processor = _read_processor()
        return f"{device} ({processor + ', ' if processor else ''}{platform.machine()})"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


@functools.cache
def _read_processor() -> str:
    """The processor's name where Linux says it, else ''."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()) if names else ""


def describe_precision() -> str:
    """What torch multiplies float32 in, where an adapter has imported torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return "no torch"
    convolutions = "tf32 allowed" if torch.backends.cudnn.allow_tf32 else "float32"
    return f"float32, matmul {torch.get_float32_matmul_precision()}, cudnn {convolutions}"


def read_git_state(folder: Path) -> GitState:
    """The state of the checkout that holds `folder`, if its files are under version control there."""
    commit = _git(folder, "rev-parse", "HEAD")
    # An installed package may lie inside somebody else's checkout (.venv): then that commit says nothing of ours.
    if commit is None or not _git(folder, "ls-files", "--", str(Path(__file__).name)):
        return GitState(None, None)
    return GitState(commit, bool(_git(folder, "status", "--porcelain", "--", ":/")))


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
