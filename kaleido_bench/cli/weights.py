"""`kbench weights`: the weights of learned metrics: which are here, whether they are right, and getting them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaleido_bench.cli.failures import ends_cleanly
from kaleido_bench.cli.options import Json
from kaleido_bench.cli.printing import print_rows
from kaleido_bench.errors import BenchError, IncompleteError

if TYPE_CHECKING:
    from kaleido_bench.score.metrics.fetching import Fetched

All = Annotated[bool, typer.Option("--all", help="All that are known and not here.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Where they go. By default KBENCH_WEIGHTS, else the user's cache."),
]
Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror", metavar="URL", help="A folder with torchvision's checkpoints, tried first. Again for more."
    ),
]
From = Annotated[
    Path | None, typer.Option("--from", metavar="FILE", help="torchvision's checkpoint, downloaded already: one NAME.")
]
Keep = Annotated[bool, typer.Option("--keep-checkpoint", help="Keep torchvision's checkpoint, too.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `kbench weights list`.")]


def build_weights_app() -> typer.Typer:
    """The commands below `kbench weights`."""
    app = typer.Typer(
        help="Weights of learned metrics. Which are here, whether they are right, and getting them.",
        no_args_is_help=True,
    )
    app.command("fetch")(ends_cleanly(fetch))
    app.command("list")(ends_cleanly(list_weights))
    app.command("verify")(ends_cleanly(verify_weights))
    return app


def fetch(
    name: Names = None,
    everything: All = False,
    cache: Cache = None,
    mirror: Mirrors = None,
    checkpoint: From = None,
    keep_checkpoint: Keep = False,
    json: Json = False,
) -> None:
    """Download what is not here, check it, and convert it. An interrupted download is continued by the same call."""
    from kaleido_bench.cli.console import LateProgress, say
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.score.metrics.fetching import Fetched, convert_checkpoint, fetch_weights
    from kaleido_bench.score.metrics.weights import WeightsFile, find_weights, weights_folders

    names = _choose_names(name or [], everything=everything, checkpoint=checkpoint)
    folder = cache or weights_folders()[0]
    looked_in = None if cache is None else {"KBENCH_WEIGHTS": str(cache), "KBENCH_CACHE": str(cache)}
    rows: list[dict[str, object]] = []
    failures: list[Failure] = []
    for each in names:
        with go_on(each, failures), LateProgress(each, "MiB") as progress:

            def report(here: int, total: int | None, progress: LateProgress = progress) -> None:
                progress.report(here >> 20, (total or here) >> 20)

            found = find_weights(each, looked_in)
            if isinstance(found, WeightsFile):
                fetched = Fetched(found, was_there=True)
            elif checkpoint is not None:
                fetched = Fetched(convert_checkpoint(each, checkpoint, folder), was_there=False)
            else:
                fetched = fetch_weights(
                    each, folder, mirrors=mirror or (), keep_checkpoint=keep_checkpoint, report=report
                )
            rows.append(_describe_fetched(each, fetched))
    if rows:
        print_rows(rows, as_json=json, empty="")
    if cache is not None and rows and cache.absolute() not in {each.absolute() for each in weights_folders()}:
        say(f"scoring looks there once KBENCH_WEIGHTS is {cache}")
    finish(failures, len(rows))


def _describe_fetched(name: str, fetched: Fetched) -> dict[str, object]:
    from kaleido_bench.score.metrics.weights import WEIGHTS

    pinned = "pinned" if WEIGHTS[name].accepted else "recorded: nobody has pinned it"
    return {
        "weights": name,
        "done": "was here" if fetched.was_there else "made",
        "path": str(fetched.file.path),
        "sha256": f"{fetched.file.sha256} ({pinned})",
    }


def _choose_names(names: list[str], *, everything: bool, checkpoint: Path | None) -> list[str]:
    from kaleido_bench.score.metrics.weights import WEIGHTS

    if bool(names) == everything:
        raise BenchError(
            "kbench weights fetch",
            "both names and --all" if everything else "no name",
            expected=f"names among {', '.join(WEIGHTS)}, or --all",
            fix="`kbench weights list` says which are here.",
        )
    if checkpoint is not None and len(names) != 1:
        raise BenchError("--from", "not one name", expected="one name", fix="Give one checkpoint for one name.")
    return list(dict.fromkeys(names)) or list(WEIGHTS)


def list_weights(json: Json = False) -> None:
    """What is known, what is here, and how to get the rest."""
    from kaleido_bench.score.metrics.weights import WEIGHTS, WeightsFile, find_weights

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
    from kaleido_bench.score.metrics.weights import WEIGHTS, WeightsFile, find_weights, read_heads

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
