"""A study's table and figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from reference_model.studies.figures import draw_study, plot_groups, write_tables
from reference_model.studies.results import load_results
from reference_model.studies.runs import identify
from tests.reference_model.studies.study import BASE, COMMITTED, PAIRS, pair_of, write_study


def test_table_and_figure_say_every_group_and_what_was_not_run(tmp_path: Path) -> None:
    pairs = [*PAIRS, pair_of("noise")]
    sides = {identify(side): [19.5] for pair in pairs[1:] for side in (pair.ours, pair.other)}
    path = write_study(tmp_path / "a.jsonl", {**sides, identify(BASE): [20.1, 20.0, 19.9]}, pairs)
    table, figure, extra = draw_study(path)
    assert [x.name for x in (table, figure, extra)] == ["a.md", "a.png", "a-extra.png"]
    text = table.read_text()
    assert all(f"| {pair.group} | {' / '.join(pair.sides)} |" in text for pair in pairs)
    assert "| i | unified encoding / plucker and learned positions | standard positional encoding is worse" in text
    assert "– | not measured |" in text and "20.00 / 19.50" in text
    assert min(Image.open(figure).size) > 900 and min(Image.open(extra).size) > 900


def test_bars_stand_on_the_nearest_reference_and_carry_every_seed(tmp_path: Path) -> None:
    pair = pair_of("i")
    sides = {identify(pair.ours): [20.1, 20.0, 19.9], identify(pair.other): [19.0]}
    results = load_results(write_study(tmp_path / "a.jsonl", sides, [pair]))
    axis = plot_groups(results, results.groups).axes[0]
    bars = axis.patches[:2]
    assert [bar.get_y() for bar in bars] == pytest.approx([12, 12])
    assert [bar.get_height() for bar in bars] == pytest.approx([8.0, 7.0])
    assert sum(len(dots.get_offsets()) for dots in axis.collections if hasattr(dots, "get_sizes")
               and len(dots.get_sizes())) == 4  # fmt: skip
    words = {text.get_text() for one in axis.figure.axes for text in one.texts}
    assert {"same sign", "+", "architecture", "+1.00 ± 0.50"} <= words


@pytest.mark.parametrize("rows", COMMITTED, ids=lambda path: path.stem)
def test_tables_in_the_documents_are_those_of_their_rows(rows: Path) -> None:
    assert rows.with_suffix(".md").read_text() == write_tables(load_results(rows))
    assert min(Image.open(rows.with_suffix(".png")).size) > 600
