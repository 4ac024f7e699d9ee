"""`kbench weights`: the weights of learned metrics: which are here, and whether they are the right ones."""

from __future__ import annotations

from typing import Annotated

import typer

from kaleido_bench.cli.failures import ends_cleanly
from kaleido_bench.cli.options import Json
from kaleido_bench.cli.printing import print_rows
from kaleido_bench.errors import BenchError, IncompleteError

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `kbench weights list`.")]


def build_weights_app() -> typer.Typer:
    """The commands below `kbench weights`."""
    app = typer.Typer(
        help="Weights of learned metrics. Which are here, and whether they are right.", no_args_is_help=True
    )
    app.command("list")(ends_cleanly(list_weights))
    app.command("verify")(ends_cleanly(verify_weights))
    return app


def list_weights(json: Json = False) -> None:
    """What is known, what is here, and how to get the rest."""
    from kaleido_bench.score.weights import WEIGHTS, WeightsFile, find_weights

    rows: list[dict[str, object]] = []
    remedies: list[str] = []
    for name, spec in WEIGHTS.items():
        found = find_weights(name)
        here = isinstance(found, WeightsFile)
        size = None if spec.size is None else f"{spec.size / 2**20:.1f} MiB"
        rows.append({"weights": name, "here": here, "size": size, "path": str(found.path) if here else None})
        remedies += [] if here else [f"{name} is missing. {found.fix}"]
    print_rows(rows, as_json=json, empty="no weights are known")
    typer.echo("\n".join(remedies), err=True, nl=bool(remedies))


def verify_weights(name: Names = None, json: Json = False) -> None:
    """Compare the weights that are here with their sha256. Ends with 1 when a file is wrong, or named and missing."""
    from kaleido_bench.score.weights import WEIGHTS, WeightsFile, find_weights, read_heads

    rows: list[dict[str, object]] = []
    wrong: list[str] = []
    read_heads()
    for each in name or WEIGHTS:
        if each not in WEIGHTS:
            find_weights(each)  # says which names there are
        try:
            found = find_weights(each)
        except BenchError as error:
            rows.append({"weights": each, "verdict": "wrong", "detail": str(error)})
            wrong.append(each)
            continue
        if isinstance(found, WeightsFile):
            rows.append({"weights": each, "verdict": "right", "detail": f"sha256 {found.sha256}"})
        else:
            rows.append({"weights": each, "verdict": "missing", "detail": found.fix})
            wrong += [each] if name else []
    print_rows(rows, as_json=json, empty="no weights are known")
    if wrong:
        raise IncompleteError(f"wrong or missing: {', '.join(wrong)}")
