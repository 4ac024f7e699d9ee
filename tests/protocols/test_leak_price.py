"""The leak and its price: a run of a leaky protocol has both means, and their difference is what the leak predicts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from kaleido_bench.cli.app import build_app
from kaleido_bench.lint import measure_leak
from kaleido_bench.protocol import load_protocol

ROOT = Path(__file__).resolve().parents[2]


def load_benchmark() -> ModuleType:
    specification = importlib.util.spec_from_file_location("leak_price", ROOT / "benchmarks" / "leak_price.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


leak_price = load_benchmark()


@pytest.fixture(scope="module")
def leaky(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return leak_price.write_leaky(tmp_path_factory.mktemp("leaky"), data_dir)


def test_the_index_leaks_as_depthsplat_does(leaky: Path) -> None:
    cases = load_protocol(leaky).cases
    for count, share in ((2, 0.04), (4, 0.08), (6, 0.12)):
        assert measure_leak([case for case in cases if len(case.references) == count]).share == share


def test_a_run_reports_both_and_their_difference_is_the_leak(leaky: Path, data_dir: Path, weights_dir: Path) -> None:
    words = ["run", str(leaky), "--model", "nearest", "--data", str(data_dir), "--out", str(leaky.parent / "runs")]
    words += ["--references", "6", "--scenes", "fox"]
    ended = CliRunner().invoke(build_app(), words, prog_name="kbench", env={"KBENCH_WEIGHTS": str(weights_dir)})
    assert ended.exit_code == 0, ended.output
    assert ended.output.index("targets as-published") < ended.output.index("targets strict-novel")
    run = leaky.parent / "runs" / "leak-price" / "nearest"
    prices = [price for price in leak_price.price_run(run, "nearest", (6,)) if price.metric == "psnr"]
    for price in prices:
        assert price.measured == pytest.approx(price.predicted, abs=1e-9)
    # A copied reference is at the cap of 100 dB: at 12 % that alone is worth more than most papers' gains.
    assert [round(price.measured) for price in prices] == [10]
