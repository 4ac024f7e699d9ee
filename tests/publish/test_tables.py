"""The table: rounded, then ranked; what is not whole has no rank; and every format, letter by letter."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from kaleido_bench.publish.formats import render_csv, render_json, render_latex, render_markdown
from kaleido_bench.publish.tables import Table, build_table, round_mean
from kaleido_bench.publish.text import print_table, render_text
from kaleido_bench.publish.words import find_mark
from kaleido_bench.score.results.records import MetricRecord, Result

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

RENDERERS: dict[str, Callable[[Table], str]] = {
    "table.txt": render_text,
    "table_narrow.txt": lambda table: render_text(table, 72),
    "table.md": render_markdown,
    "table.tex": render_latex,
    "table.csv": render_csv,
    "table.json": render_json,
}


@pytest.mark.parametrize("name", RENDERERS)
def test_golden(every_case: list[Result], name: str) -> None:
    """Letter by letter. KBENCH_WRITE_GOLDEN=1 writes the files anew; read the difference before it is committed."""
    found = RENDERERS[name](build_table(every_case))
    path = GOLDEN / name
    if os.environ.get("KBENCH_WRITE_GOLDEN") == "1":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def ranks(table: Table, place: int) -> list[int | None]:
    return [row.cells[place].rank for row in table.sections[0].rows]


def test_rounding_comes_before_ranking(result: Callable[..., Result]) -> None:
    """20.004 and 20.001 dB are both 20.00: they share the first rank, and there is no second."""
    values = (20.004, 20.001, 19.99)
    table = build_table([result(f"m{value}", {"psnr": (value,)}, labels=("1",)) for value in values])
    assert [row.cells[0].text for row in table.sections[0].rows] == ["20.00", "20.00", "19.99"]
    assert ranks(table, 0) == [1, 1, 3]
    marks = [find_mark(table.sections[0], row.cells[0], 0) for row in table.sections[0].rows]
    assert marks == ["best", "best", ""]
    assert "equal after rounding shares a mark" in render_text(table)


def test_lower_is_better_for_lpips(result: Callable[..., Result]) -> None:
    table = build_table([result(str(value), {"lpips-alex": (value,)}, labels=("1",)) for value in (0.3, 0.1, 0.2)])
    assert ranks(table, 0) == [3, 1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_nobody_is_best_where_nobody_is_worse(result: Callable[..., Result], count: int) -> None:
    table = build_table([result(f"m{index}", {"psnr": (20.0,)}, labels=("1",)) for index in range(count)])
    assert "best" not in render_text(table)
    assert "**" not in render_markdown(table).split("| model |")[1]


def test_an_infinite_mean_is_drawn_and_ranked_first(result: Callable[..., Result]) -> None:
    """Some conventions let identical images make a mean infinite; JSON has no word for it."""
    table = build_table(
        [result("a", {"psnr": (99.0,)}, labels=("1",)), result("b", {"psnr": (math.inf,)}, labels=("1",))]
    )
    assert [row.cells[0].text for row in table.sections[0].rows] == ["99.00", "inf"]
    assert ranks(table, 0) == [2, 1]
    document = json.loads(render_json(table), parse_constant=pytest.fail)
    assert document["sections"][0]["rows"][1]["cells"][0]["mean"] == "inf"


def test_what_a_convention_leaves_open_is_said_once(result: Callable[..., Result]) -> None:
    results = [result(name, {"psnr": (20.0,)}, labels=("1",), notes=("seva: reduction is unset",)) for name in "ab"]
    excluded = result("c", {"psnr": (20.0,)}, labels=("1",), psnr_cap=None, psnr_views_excluded=2)
    notes = build_table([*results, excluded]).sections[0].notes
    assert notes.count("seva: reduction is unset") == 1
    assert "c: 2 views with an infinite PSNR are not in its mean" in notes


def test_incomplete_has_no_number_and_no_rank(result: Callable[..., Result]) -> None:
    """287 of 288 views are 99 %, never 100 %."""
    table = build_table([result("a", {"psnr": (20.0,)}, labels=("1",)), result("b", {}, labels=("1",), found=287)])
    row = table.sections[0].rows[1]
    assert row.incomplete == "incomplete 99 % (287 of 288 views)"
    assert {(cell.status, cell.text, cell.mean, cell.rank) for cell in row.cells} == {("incomplete", "", None, None)}
    for render in RENDERERS.values():
        assert "incomplete 99" in render(table)


def test_a_part_of_a_protocol_is_shown_and_not_ranked(result: Callable[..., Result]) -> None:
    part = result("part", {"psnr": (30.0,)}, labels=("1",), partial=("--limit 3",))
    table = build_table(
        [part, result("a", {"psnr": (20.0,)}, labels=("1",)), result("b", {"psnr": (19.0,)}, labels=("1",))]
    )
    assert ranks(table, 0) == [None, 1, 2]
    assert "† part: partial and not ranked (--limit 3)" in render_text(table)


def test_missing_weights_are_words_and_never_a_number(result: Callable[..., Result]) -> None:
    table = build_table(
        [
            result("a", {"psnr": (20.0,), "lpips-vgg": (0.5,)}, labels=("1",)),
            result("b", {"psnr": (19.0,)}, labels=("1",)),
        ]
    )
    cell = table.sections[0].rows[1].cells[1]
    assert (cell.status, cell.text, cell.mean, cell.rank) == ("weights missing", "", None, None)
    assert table.sections[0].rows[0].cells[1].rank == 1


def test_models_scored_against_different_files_are_not_ranked(result: Callable[..., Result]) -> None:
    """The ground truth of most published protocols is not frozen, nor are VGG's weights: two users may hold others."""
    values = {"psnr": [20.0, 21.0, 22.0], "psnr-fg": [10.0, 11.0, 12.0], "lpips-vgg": [0.5, 0.4, 0.3]}
    metrics = tuple(
        MetricRecord(name=name, higher_is_better=name != "lpips-vgg", optional=False, status="scored", weights=None)
        for name in values
    )
    same = [result(model, values, metrics=metrics) for model in "ab"]
    (section,) = build_table(same).sections
    assert not any("not ranked" in note for note in section.notes)

    def ranked(**fields: object) -> tuple[set[str], tuple[str, ...]]:
        (section,) = build_table([same[0], same[1].model_copy(update=fields)]).sections
        cells = zip(section.columns, section.rows[0].cells, strict=True)
        return {column.metric for column, cell in cells if cell.rank}, section.notes

    found, notes = ranked(truths_sha256="1" * 64)
    assert found == set() and notes[0] == "not ranked: the ground truth is not the same files for all models"
    found, notes = ranked(masks_sha256="1" * 64)
    assert found == {"psnr", "lpips-vgg"} and "the masks are not the same files" in notes[0]
    others = tuple(
        each.model_copy(update={"weights": "1" * 64}) if each.name == "lpips-vgg" else each for each in same[1].metrics
    )
    found, notes = ranked(metrics=others)
    assert found == {"psnr", "psnr-fg"} and notes[0].startswith("lpips-vgg not ranked: its weights")
    assert ranked(truths_sha256="1" * 64, partial=True)[0] == {"psnr", "psnr-fg", "lpips-vgg"}


def test_a_metric_whose_weights_nobody_has_is_a_note_and_no_column(three_models: list[Result]) -> None:
    section = build_table(three_models).sections[0]
    assert {column.metric for column in section.columns} == {"psnr", "ssim", "lpips-alex"}
    assert section.notes == ("lpips-vgg: weights missing",)


def test_protocols_and_their_hashes_are_never_mixed(result: Callable[..., Result]) -> None:
    """The same name with another hash is another protocol."""
    table = build_table(
        [
            result("a", {"psnr": (20.0,)}, labels=("1",)),
            result("b", {"psnr": (19.0,)}, labels=("1",), protocol_hash="123456"),
            result("c", {"psnr": (18.0,)}, labels=("1",)),
        ]
    )
    assert [[row.model for row in section.rows] for section in table.sections] == [["a", "c"], ["b"]]
    assert "(123456000000)" in render_text(table)


def test_leaked_targets_are_said_and_can_be_left_out(result: Callable[..., Result]) -> None:
    leaky = result("a", {"psnr": (20.0,)}, labels=("1",), targets="as-published", leaked=12, strict_gap=1.0)
    published, strict = build_table([leaky]), build_table([leaky], targets="strict-novel")
    assert published.sections[0].rows[0].cells[0].text == "20.00"
    assert strict.sections[0].rows[0].cells[0].text == "19.00"
    assert published.sections[0].notes[-1] == "12 of 288 targets are references too: counted here"
    assert strict.sections[0].notes[-1] == "12 of 288 targets are references too: not counted here"


@pytest.mark.parametrize(
    "fields", [{"psnr_views_at_cap": 2}, {"psnr_cap": None, "psnr_views_excluded": 2}], ids=["cap", "excluded"]
)
def test_without_shown_targets_a_count_of_all_says_that_it_is_one(
    result: Callable[..., Result], fields: dict[str, object]
) -> None:
    """A result does not say how many of its perfect views were shown; that they all count here is wrong as a rule."""
    leaky = result("a", {"psnr": (20.0,)}, labels=("1",), targets="as-published", leaked=12, **fields)
    published, strict = (
        [note for note in section.notes if note.startswith("a: 2 views")]
        for section in build_table([leaky], "both").sections
    )
    assert strict == [f"{published[0]}, of all targets, those that are references too included"]
    clean = build_table([result("a", {"psnr": (20.0,)}, labels=("1",), **fields)])
    assert published[0] in clean.sections[0].notes


def test_a_leaky_protocol_reports_both_and_a_clean_one_once(result: Callable[..., Result]) -> None:
    leaky = result("a", {"psnr": (20.0,)}, labels=("1",), targets="as-published", leaked=12, strict_gap=1.0)
    table = build_table([leaky], "both")
    assert [section.targets for section in table.sections] == ["as-published", "strict-novel"]
    assert [section.rows[0].cells[0].text for section in table.sections] == ["20.00", "19.00"]
    assert [section.target_views for section in table.sections] == [288, 276]
    assert "targets as-published" in render_text(table) and "targets strict-novel" in render_text(table)
    for targets in ("as-published", "strict-novel"):
        clean = result("a", {"psnr": (20.0,)}, labels=("1",), targets=targets)
        assert [section.targets for section in build_table([clean], "both").sections] == [targets]


def test_rounded_zero_has_no_sign() -> None:
    assert round_mean("ssim", -0.0004) == "0.000"
    assert round_mean("ssim", -0.0006) == "-0.001"
    assert round_mean("psnr", 12.3456) == "12.35"


def test_text_fits_a_hundred_columns(three_models: list[Result]) -> None:
    """Three models, three metrics, three numbers of references; and every line of a narrow console fits it too."""
    wide, narrow = render_text(build_table(three_models), 100), render_text(build_table(three_models), 60)
    assert max(map(len, wide.splitlines())) <= 100
    assert wide.count("kaleido@tiny") == 1
    assert narrow.count("kaleido@tiny") == 3
    body = [line for line in narrow.splitlines() if "protocol" not in line]
    assert max(map(len, body)) <= 60


def test_prints_what_it_renders(every_case: list[Result]) -> None:
    table = build_table(every_case)
    buffer = io.StringIO()
    print_table(table, Console(file=buffer, width=120))
    printed = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
    assert printed.strip() == render_text(table).strip()


def test_prints_on_a_terminal_without_unicode(every_case: list[Result]) -> None:
    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_table(build_table(every_case), Console(file=buffer, width=120))
    buffer.flush()
    assert b"PSNR ^" in buffer.buffer.getvalue()  # type: ignore[attr-defined]


def test_csv_keeps_the_mean_as_the_result_has_it(three_models: list[Result]) -> None:
    records = list(csv.DictReader(io.StringIO(render_csv(build_table(three_models)))))
    assert len(records) == 27
    assert (records[2]["mean"], records[2]["rounded"], records[2]["rank"]) == ("13.9949", "13.99", "3")


def test_json_is_the_table(three_models: list[Result]) -> None:
    table = build_table(three_models)
    document = json.loads(render_json(table))
    assert document["schema_version"] == 1
    rows = document["sections"][0]["rows"]
    assert [row["model"] for row in rows] == ["nearest", "mean", "kaleido@tiny"]
    assert rows[2]["cells"][0] == table.sections[0].rows[2].cells[0]._asdict()


def test_needs_no_torch() -> None:
    """Tables are drawn where nothing was predicted or scored."""
    code = "import sys, kaleido_bench.publish.text, kaleido_bench.publish.formats; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_title_of_two_lines_breaks_no_markdown(result: Callable[..., Result]) -> None:
    table = build_table([result("a", {"psnr": (20.0,)}, labels=("1",), title="One | two\n# three")])
    assert render_markdown(table).startswith("**One \\| two # three**\n\nprotocol ")
