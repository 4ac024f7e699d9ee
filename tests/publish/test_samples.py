"""Several samples and what predicting took, in a table: their columns, notes and marks, and every format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kaleido_bench.publish.efficiency import EfficiencyRow, write_cells, write_notes, write_seconds
from kaleido_bench.publish.formats import render_csv, render_json, render_latex, render_markdown
from kaleido_bench.publish.html import render_html
from kaleido_bench.publish.tables import Table, build_table
from kaleido_bench.publish.text import render_text
from kaleido_bench.score.results.efficiency import Efficiency, Measurement
from kaleido_bench.score.results.records import Result, SampleMeanRecord

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RENDERERS: dict[str, Callable[[Table], str]] = {
    "samples.txt": lambda table: render_text(table, 100),
    "samples.md": render_markdown,
    "samples.tex": render_latex,
    "samples.csv": render_csv,
    "samples.json": render_json,
    "samples.html": render_html,
}
MEANS = {"psnr": (16.8, 17.9), "lpips-alex": (0.41, 0.3)}


def sample_means(samples: int, spread: float = 0.4) -> tuple[SampleMeanRecord, ...]:
    return tuple(
        SampleMeanRecord(
            references=label, metric=metric, targets=targets, best=value + gain, spread=spread * abs(gain),
            samples=samples, views=96, scenes=8,
        )
        for metric, gain in (("psnr", 1.0), ("lpips-alex", -0.05))
        for label, value in zip(("1", "3"), MEANS[metric], strict=True)
        for targets in ("as-published", "strict-novel")
    )  # fmt: skip


def measurement(device: str | None = "cpu (EPYC)", **fields: object) -> Measurement:
    defaults = {
        "device": device, "precision": None, "items": 24, "views": 288, "fewest_views": 12, "most_views": 12,
        "median_seconds": 0.0123, "mean_seconds": 0.02, "fit_seconds": None,
        "peak_memory": 300 * 2**20, "memory_kind": "host growth",
    }  # fmt: skip
    return Measurement.model_validate({**defaults, **fields})


def efficiency(model: str, *measurements: Measurement, **fields: object) -> Efficiency:
    defaults = {"protocol": "real/scenes-few", "protocol_hash": "3f2a91c0d1e2".ljust(64, "0"), "model": model}
    cost = {"fingerprint": "f", "parameters": 7_853_760, "function_evaluations": 8, "measurements": measurements}
    return Efficiency.model_validate({**defaults, **cost, **fields})


@pytest.fixture
def table(result: Callable[..., Result]) -> Table:
    """A model with 4 samples, one that has none, one without measurements; a GPU and a CPU."""
    gpu = measurement("cuda (H100)", memory_kind="device", precision="tf32", fit_seconds=12.0, median_seconds=3.5)
    results = [
        result("flow", MEANS, labels=("1", "3"), samples=4, sample_means=sample_means(4)),
        result("nearest", MEANS, labels=("1", "3"), deterministic=True),
        result("old", MEANS, labels=("1", "3")),
    ]
    costs = [
        efficiency("flow", gpu),
        efficiency("nearest", measurement(), parameters=0, function_evaluations=0),
        efficiency("old", parameters=None, function_evaluations=None),
    ]
    return build_table(results, efficiencies=costs)


@pytest.mark.parametrize("name", RENDERERS)
def test_golden(table: Table, name: str) -> None:
    """Letter by letter. KBENCH_WRITE_GOLDEN=1 writes the files anew; read the difference before it is committed."""
    found, path = RENDERERS[name](table), GOLDEN / name
    if os.environ.get("KBENCH_WRITE_GOLDEN") == "1":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_only_means_are_ranked(table: Table) -> None:
    section = table.sections[0]
    assert [column.statistic for column in section.columns] == ["mean"] * 4 + ["best"] * 4 + ["spread"] * 4
    for row in section.rows:
        assert all(cell.rank is None for cell in row.cells[4:])
    assert [cell.status for cell in section.rows[1].cells[4:]] == ["none"] * 8


def test_what_has_one_sample_says_so(table: Table) -> None:
    notes = table.sections[0].notes
    assert "nearest: deterministic, one sample counted" in notes
    assert "old: one sample a case, so neither a best nor a spread" in notes
    assert "flow: mean over 4 samples a case" in notes


def test_models_with_different_numbers_of_samples_do_not_share_a_number(result: Callable[..., Result]) -> None:
    results = [result(f"m{n}", MEANS, labels=("1", "3"), samples=n, sample_means=sample_means(n)) for n in (2, 4)]
    assert "best of N" in render_text(build_table(results))
    assert "best of" not in render_text(build_table(results, samples=False))


def test_samples_that_are_all_alike_are_said(result: Callable[..., Result]) -> None:
    flat = result("flat", MEANS, labels=("1", "3"), samples=2, sample_means=sample_means(2, spread=0.0))
    assert "flat: its samples are all alike" in build_table([flat]).sections[0].notes


def test_no_columns_without_samples(three_models: list[Result]) -> None:
    assert {column.statistic for column in build_table(three_models).sections[0].columns} == {"mean"}


def test_devices_that_differ_are_said() -> None:
    rows = [EfficiencyRow(name, None, None, measurement(name)) for name in ("cpu (EPYC)", "cuda (H100)")]
    assert any(note.startswith("devices differ (cpu (EPYC); cuda (H100))") for note in write_notes(rows))
    assert not any("differ" in note for note in write_notes(rows[:1]))


def test_what_is_unknown_is_no_zero() -> None:
    cells = write_cells(EfficiencyRow("a", None, None, measurement(None, peak_memory=None, memory_kind=None)))
    assert cells == ("a", "0.0123", "0.0200", "–", "–", "–", "–", "not recorded")


def test_an_efficiency_of_other_weights_is_not_shown(result: Callable[..., Result]) -> None:
    other = efficiency("flow", measurement(), fingerprint="g")
    assert build_table([result("flow", MEANS)], efficiencies=[other]).sections[0].efficiency == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.0456, "0.0456"),
        (0.00012, "0.00012"),
        (0.0000012, "0.000001"),
    ],
)
def test_seconds_have_three_digits(seconds: float, text: str) -> None:
    assert write_seconds(seconds).rstrip("0") == text.rstrip("0")
