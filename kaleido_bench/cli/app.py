"""The commands, by name. Each file imports what it needs inside its function, so that `kbench --help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from kaleido_bench import __version__
from kaleido_bench.cli import (
    compare,
    doctor,
    import_split,
    leaderboard,
    lint,
    listing,
    metrics,
    predict,
    run,
    score,
    show,
    table,
    train,
    weights,
)
from kaleido_bench.cli.failures import OneLineGroup, ends_cleanly


def build_app() -> typer.Typer:
    """The `kbench` program."""
    app = typer.Typer(
        name="kbench",
        cls=OneLineGroup,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback(invoke_without_command=True)(kbench)
    app.command("run")(ends_cleanly(run.run))
    app.command("predict")(ends_cleanly(predict.predict))
    app.command("score")(ends_cleanly(score.score))
    app.command("table")(ends_cleanly(table.table))
    app.command("compare")(ends_cleanly(compare.compare))
    app.command("list")(ends_cleanly(listing.list_things))
    app.command("show")(ends_cleanly(show.show))
    app.command("lint")(ends_cleanly(lint.lint))
    app.command("import-split")(ends_cleanly(import_split.import_split))
    app.add_typer(metrics.build_metrics_app(), name="metrics")
    app.add_typer(leaderboard.build_leaderboard_app(), name="leaderboard")
    app.add_typer(weights.build_weights_app(), name="weights")
    app.command("train")(ends_cleanly(train.train))
    app.command("doctor")(ends_cleanly(doctor.doctor))
    return app


def kbench(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """A benchmark for novel view synthesis: frozen protocols, named metric conventions, results that can be checked.

    Exit codes: 0 done, 1 something is wrong or incomplete, 2 the call was wrong, 130 interrupted.
    """
    if version:
        typer.echo(f"kbench {__version__}")
        raise typer.Exit
