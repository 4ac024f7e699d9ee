"""The protocols that ship with the package, by name. Looks at names only, so that listing them is quick."""

from __future__ import annotations

from pathlib import Path

SUITES = "suites"
"""The folder below the protocols that holds lists of them (see kaleido_bench.suites) and no protocol."""


def protocols_folder() -> Path:
    """Where the shipped protocols are: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "protocols"
    return inside if inside.is_dir() else package.parent / "protocols"


def find_protocols(folder: Path | None = None) -> dict[str, Path]:
    """The protocols that ship with the package, by name (`quickstart`, `real/llff-few`)."""
    root = folder or protocols_folder()
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}
    return {name: path for name, path in found.items() if not name.startswith(f"{SUITES}/")}


def find_suites(folder: Path | None = None) -> dict[str, Path]:
    """The suites that ship with the package, by name."""
    return {path.stem: path for path in sorted(((folder or protocols_folder()) / SUITES).glob("*.yaml"))}
