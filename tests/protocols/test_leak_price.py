"""The leak and its price: a run of a leaky protocol has both means, and their difference is what the leak predicts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from kaleido_bench.cli.app import build_app

ROOT = Path(__file__).resolve().parents[2]


def load_benchmark() -> ModuleType:
    specification = importlib.util.spec_from_file_location("leak_price", ROOT / "benchmarks" / "leak_price.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


leak_price = load_benchmark()


def write(folder: Path, data_dir: Path, name: str, scenes: tuple[str, ...]) -> Path:
    return leak_price.write_leaky(folder, data_dir, name=name, scenes=scenes, metrics=("psnr",), size=64)


def test_the_index_leaks_as_depthsplat_does(data_dir: Path, tmp_path: Path) -> None:
    leaky = leak_price.write_leaky(tmp_path, data_dir)
    assert leak_price.find_shares(leaky) == {2: 0.04, 4: 0.08, 6: 0.12}


def test_a_run_reports_both_and_their_difference_is_what_the_leak_predicts(data_dir: Path, tmp_path: Path) -> None:
    here = write(tmp_path, data_dir, "here", ("fox",))
    elsewhere = write(tmp_path, data_dir, "elsewhere", ("temple_ring",))
    words = ["run", str(here), str(elsewhere), "--model", "nearest", "--data", str(data_dir), "--references", "6"]
    ended = CliRunner().invoke(build_app(), [*words, "--out", str(tmp_path / "runs")], prog_name="kbench")
    assert ended.exit_code == 0, ended.output
    assert ended.output.index("targets as-published") < ended.output.index("targets strict-novel")
    found = leak_price.measure_elsewhere(tmp_path / "runs" / "elsewhere" / "nearest")
    (price,) = leak_price.price_run(tmp_path / "runs" / "here" / "nearest", "nearest", {6: 0.12}, found)
    # A copied reference is at the cap of 100 dB on any scene: at 12 % that alone is worth more than most papers' gains.
    assert found[6, "psnr"].shown == 100.0 and round(price.measured) == 10
    assert price.measured == pytest.approx(price.by_level, abs=1e-9)
    assert price.measured == pytest.approx(price.by_gain, rel=0.1) and price.measured != price.by_gain
