"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaleido_bench.errors import BenchError

if TYPE_CHECKING:
    from kaleido_bench.items import Deviations

Protocols = Annotated[
    list[str],
    typer.Argument(metavar="PROTOCOL", help="Protocol files, names from `kbench list protocols`, or a suite's name."),
]
CompletedFolder = Annotated[
    Path | None,
    typer.Option(
        "--completed",
        metavar="DIR",
        envvar="KBENCH_PROTOCOLS",
        help="Protocols made by `kbench import-split`; each takes the place of the pending one of its name.",
    ),
]
Models = Annotated[
    list[str],
    typer.Option("--model", "-m", metavar="NAME[@VARIANT]", help="From `kbench list models`. Give it again for more."),
]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option("--model-arg", metavar="KEY=VALUE", help="A setting of the models. Give it again for more."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="KBENCH_DATA", help="The folder that holds the data sets."),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of all runs.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
References = Annotated[
    str | None, typer.Option("--references", metavar="N,N", help="Only these numbers of reference views (partial).")
]
Scenes = Annotated[str | None, typer.Option("--scenes", metavar="A,B", help="Only these scenes (partial).")]
Samples = Annotated[
    int | None, typer.Option("--samples", min=1, help="So many samples a case instead of the protocol's (partial).")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N predictions (partial).")]
WorkerCount = Annotated[int, typer.Option("--workers", min=1, help="So many processes predict at once.")]
RunFolders = Annotated[
    list[Path], typer.Argument(metavar="RUN", help="Run folders, or folders of runs (runs/, runs/<protocol>).")
]
ConventionName = Annotated[
    str | None, typer.Option("--convention", metavar="NAME", help="Another convention than the protocol's.")
]
ConventionNames = Annotated[
    str | None, typer.Option("--convention", metavar="NAME,NAME", help="Other conventions than the protocol's.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


def parse_model_args(texts: list[str] | None) -> dict[str, str]:
    """`key=value` strings as a dict. Raises BenchError when one is none, or a key is given twice."""
    args: dict[str, str] = {}
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not key or not separator or key in args:
            found = f"{text!r}" if key not in args else f"{key!r} given twice"
            raise BenchError("--model-arg", found, expected="KEY=VALUE, each key once", fix="Correct it.")
        args[key] = value
    return args


def parse_conventions(text: str | None) -> tuple[str, ...] | None:
    """The names of `--convention a,b`; None where it was not given. Raises BenchError when the list cannot be read."""
    return None if text is None else _split(text, "--convention", "kbench-v1,3dgs")


def parse_deviations(references: str | None, scenes: str | None, samples: int | None, limit: int | None) -> Deviations:
    """What a call leaves out of its protocols. Raises BenchError when a list cannot be read."""
    from kaleido_bench.items import Deviations

    return Deviations(
        limit=limit,
        samples=samples,
        scenes=None if scenes is None else _split(scenes, "--scenes", "A,B"),
        reference_counts=None
        if references is None
        else tuple(map(_read_count, _split(references, "--references", "1,3"))),
    )


def _split(text: str, option: str, example: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if "" in words or len(set(words)) != len(words):
        raise BenchError(option, f"{text!r}", expected=f"a list such as {example}, each once", fix="Correct it.")
    return words


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BenchError("--references", f"{text!r}", expected="whole numbers from 1, such as 1,3", fix="Correct it.")
    return int(text)
