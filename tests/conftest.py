"""What every test may rely on: where real data and weights are, and what happens when they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Cores are shared here and in CI: a slow example is not a wrong one.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if _BESIDE.is_dir():
    os.environ.setdefault("KBENCH_DATA", str(_BESIDE))
    os.environ.setdefault("KBENCH_WEIGHTS", str(_BESIDE / "weights"))


def _find_folder(variable: str, needed: str) -> Path:
    """The folder a variable names; without it a test skips on a desk and fails in CI, where the data has to be."""
    value = os.environ.get(variable)
    if value and (Path(value) / needed).is_dir():
        return Path(value)
    reason = f"{variable} names no folder with {needed}/ in it (it is {value!r})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """KBENCH_DATA, with the real scenes below `scenes/`."""
    return _find_folder("KBENCH_DATA", "scenes")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """KBENCH_WEIGHTS, with the LPIPS weights below `lpips/`."""
    return _find_folder("KBENCH_WEIGHTS", "lpips")
