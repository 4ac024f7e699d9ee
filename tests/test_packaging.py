"""What a stranger installs: the wheel holds protocols, embedded data and weights, and runs from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked as pip would unpack it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 72 * 2**20  # a package index takes files of up to 100 MB
    with zipfile.ZipFile(wheel) as archive:
        assert max(entry.file_size for entry in archive.infolist()) <= 16 * 2**20
        archive.extractall(folder / "site")
    return folder / "site"


def kbench(installed: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kaleido_bench", *words]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_wheel_knows_every_protocol(installed: Path, tmp_path: Path) -> None:
    done = kbench(installed, tmp_path, "list", "protocols", "--json")
    assert done.returncode == 0, done.stderr
    names = {row["protocol"] for row in json.loads(done.stdout)}
    shipped = {str(path.relative_to(ROOT / "protocols").with_suffix("")) for path in ROOT.glob("protocols/**/*.yaml")}
    assert names == {name for name in shipped if not name.startswith("suites/")} and "quickstart" in names
    published = json.loads(kbench(installed, tmp_path, "show", "seva/llff-r", "--json").stdout)["published"]
    assert len(published) == 15


def test_the_wheel_does_the_main_job(installed: Path, tmp_path: Path) -> None:
    words = ["run", "quickstart", "--model", "nearest", "--model", "kaleido@tiny", "--limit", "1", "--json"]
    done = kbench(installed, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    results = list((tmp_path / "runs").rglob("result.json"))
    assert len(results) == 2
    assert all(json.loads(path.read_text())["partial"] for path in results)


def test_the_wheel_holds_all_weights_that_ship(installed: Path) -> None:
    """With their cards: weights whose README stayed behind would not say what they were trained on."""
    here = {path.relative_to(ROOT): path.stat().st_size for path in (ROOT / "reference_model/weights").rglob("*.*")}
    there = {
        path.relative_to(installed): path.stat().st_size for path in installed.rglob("reference_model/weights/*/*.*")
    }
    assert there == here
    assert {path.name for path in there} >= {"README.md", "card.json", "preset.json"}


def test_the_wheel_carries_its_licences(installed: Path) -> None:
    names = {path.name for path in installed.rglob("*")}
    assert {"LICENSE", "NOTICE", "LICENSE.lpips"} <= names
