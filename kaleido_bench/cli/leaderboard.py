"""`kbench leaderboard`: results that are kept: taking them in, checking them, and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaleido_bench.cli.console import say
from kaleido_bench.cli.failures import ends_cleanly
from kaleido_bench.cli.options import CompletedFolder, Json, RunFolders
from kaleido_bench.cli.printing import print_json
from kaleido_bench.errors import BenchError, IncompleteError

if TYPE_CHECKING:
    from kaleido_bench.publish.adding import Added
    from kaleido_bench.publish.boards import Boards
    from kaleido_bench.score.results.records import Result

DEFAULT = Path("leaderboards")
"""The folder of all results, where a call names no other."""

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder of all results.")]
Into = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder of all results.")]
Pages = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where the pages go. By default pages/ in DIR.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Each page in Markdown, too.")]

CHANGES_SHOWN = 12
"""Lines on one replaced result; `--json` has all."""


def build_leaderboard_app() -> typer.Typer:
    """The commands below `kbench leaderboard`."""
    app = typer.Typer(
        help="Results that are kept. Taking a run's result in, checking all of them, building their pages.",
        no_args_is_help=True,
    )
    app.command("add")(ends_cleanly(add))
    app.command("check")(ends_cleanly(check))
    app.command("build")(ends_cleanly(build))
    return app


def add(run: RunFolders, to: Into = DEFAULT, json: Json = False, completed: CompletedFolder = None) -> None:
    """Take in the results of finished runs. Refuses what is partial, incomplete, edited, or of another protocol.

    Each result is made again from its rows first, and becomes DIR/<protocol>/results/<model>.json, whole or not at all.
    One that is there of the same model is replaced, and what changed is said.
    """
    from kaleido_bench.cli.folders import check_folder, find_all_runs
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.predictions import open_run
    from kaleido_bench.publish.adding import add_result
    from kaleido_bench.publish.boards import Shelf
    from kaleido_bench.score.results.checking import load_checked_result

    check_folder(to, "--to")
    shelf = Shelf(completed)
    failures: list[Failure] = []
    added: list[Added] = []
    taken: dict[tuple[str, str], tuple[Path, Result]] = {}
    for folder in find_all_runs(run):
        with go_on(str(folder), failures):
            opened = open_run(folder)
            loaded = shelf.load(opened.record.protocol)
            if not opened.result.is_file():
                raise IncompleteError(f"{folder}: no result yet. Make it with `kbench run` or `kbench score`.")
            result = load_checked_result(opened, opened.record.convention)
            _refuse_second(result, folder, taken)
            added.append(add_result(to, result, loaded, str(folder)))
            if not json:
                _print_added(added[-1])
    if json:
        print_json([_describe_added(each) for each in added])
    finish(failures, len(added))


def _refuse_second(result: Result, folder: Path, taken: dict[tuple[str, str], tuple[Path, Result]]) -> None:
    """Of two runs of one label the later would silently take the place of the one before, unless they say the same."""
    label = result.protocol.name, result.model.model
    first, same = taken.setdefault(label, (folder, result))
    if same != result:
        raise BenchError(
            folder,
            f"another result of {result.model.model} than that of {first}",
            expected="one run of each label in a call",
            fix="Name the one that is to be kept, or run the other under another name.",
        )


def _print_added(added: Added) -> None:
    typer.echo(f"{added.path}: {added.done}")
    shown = added.changes[:CHANGES_SHOWN]
    more = len(added.changes) - len(shown)
    for change in shown:
        typer.echo(f"  {change}")
    if more:
        typer.echo(f"  and {more} more changes (--json lists them)")


def _describe_added(added: Added) -> dict[str, object]:
    return {
        "protocol": added.protocol,
        "model": added.model,
        "path": str(added.path),
        "done": added.done,
        "changes": [change._asdict() for change in added.changes],
    }


def check(folder: Folder = DEFAULT, json: Json = False, completed: CompletedFolder = None) -> None:
    """Check every result that is kept, as CI does. Ends with 1 when there is a fault, and names each.

    Whole, of today's protocol and convention, in the file of its name; means that follow from those of their scenes,
    numbers that their metric can have, and nothing said of training data that another result contradicts.
    """
    read = _read(folder, completed)
    _finish_check(read, json=json)


def _read(folder: Path, completed: Path | None) -> Boards:
    from kaleido_bench.publish.boards import Shelf, read_boards
    from kaleido_bench.publish.reported import load_reported

    read = read_boards(folder, Shelf(completed))
    if not read.files:
        raise BenchError(folder, "no result in it", expected="<protocol>/results/<model>.json", fix="Name another.")
    if (reported := folder / "reported").is_dir():
        load_reported(reported)  # raises what is wrong with a row of it
    return read


def _finish_check(read: Boards, *, json: bool) -> None:
    from kaleido_bench.publish.words import count

    if json:
        print_json(
            {"protocols": len(read.boards), "results": read.files, "faults": [each._asdict() for each in read.faults]}
        )
    else:
        for fault in read.faults:
            typer.echo(str(fault))
    faults = count(len(read.faults), "fault")
    say(f"checked {count(read.files, 'result')} of {count(len(read.boards), 'protocol')}: {faults}")
    if read.faults:
        raise IncompleteError(f"{faults}, see above")


def build(
    folder: Folder = DEFAULT,
    out: Pages = None,
    markdown: Markdown = False,
    json: Json = False,
    completed: CompletedFolder = None,
) -> None:
    """Build a page for each protocol and one that lists them. Checks first, and builds nothing where there is a fault.

    A protocol has a page where there are results or published numbers of it. The same results give the same bytes.
    Pages need no server and no network. Files that an earlier build made and this one does not are removed.
    """
    from kaleido_bench.cli.folders import check_folder
    from kaleido_bench.publish.reported import load_external, load_reported
    from kaleido_bench.publish.site import build_site, load_subjects, write_site

    check_folder(out or folder, "--out" if out else "DIR")
    read = _read(folder, completed)
    if read.faults:
        _finish_check(read, json=json)
    reported = folder / "reported"
    tables = reported if reported.is_dir() else None
    subjects = load_subjects(read.boards, load_reported(tables), load_external(tables))
    written = write_site(out or folder / "pages", build_site(subjects, markdown=markdown))
    if json:
        print_json({**written._asdict(), "folder": str(written.folder), "home": str(written.home)})
    else:
        typer.echo(f"{written.home}: {written.pages} pages, {written.changed} files written, {written.removed} removed")
