"""`kbench compare`: is one run better than another, and is that more than the choice of scenes?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kaleido_bench.cli.options import ConventionName, Json


class ComparisonFormat(StrEnum):
    """How a comparison is written."""

    TEXT = "text"
    MARKDOWN = "md"
    JSON = "json"


First = Annotated[Path, typer.Argument(metavar="RUN_A", help="The run that is judged: its folder, or a result file.")]
Second = Annotated[Path, typer.Argument(metavar="RUN_B", help="Another run of its protocol, to judge it by.")]


def compare(
    first: First,
    second: Second,
    form: Annotated[
        ComparisonFormat, typer.Option("--format", "-f", help="How the comparison is written.")
    ] = ComparisonFormat.TEXT,
    convention: ConventionName = None,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.9999, help="Of the intervals.")] = 0.95,
    common: Annotated[
        bool,
        typer.Option("--common", help="Compare the views that both runs have, where a run is not whole (partial)."),
    ] = False,
    by_scene: Annotated[bool, typer.Option("--by-scene", help="Each scene's difference, too.")] = False,
    views: Annotated[
        int, typer.Option("--views", metavar="N", min=0, help="The N best and the N worst views, too.")
    ] = 0,
    json: Json = False,
) -> None:
    """Is RUN_A better than RUN_B? Differences over the same views, intervals over scenes, a verdict for each.

    Views are paired; a scene counts once, however many views it has; the interval is Student's t over the scenes'
    differences. A result file has scenes and no views. Ends with 0 whatever the verdict.
    """
    from kaleido_bench.cli.tables import output_width
    from kaleido_bench.publish import comparison_formats
    from kaleido_bench.publish.comparison import Asked, build_comparison
    from kaleido_bench.score.comparing.sides import check_sides, load_side

    sides = load_side(first, convention), load_side(second, convention)
    shared = check_sides(*sides, common=common)
    asked = Asked(level=level, common=common, by_scene=by_scene, views=views)
    found = build_comparison(*sides, shared, asked)
    if json or form is ComparisonFormat.JSON:
        text = comparison_formats.render_json(found)
    elif form is ComparisonFormat.MARKDOWN:
        text = comparison_formats.render_markdown(found)
    else:
        text = comparison_formats.render_text(found, output_width())
    typer.echo(text.rstrip("\n"))
