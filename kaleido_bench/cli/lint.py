"""`kbench lint`: what can be wrong with a protocol, checked without any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaleido_bench.cli.options import CompletedFolder, Json
from kaleido_bench.cli.printing import fold_text, print_rows, terminal_width
from kaleido_bench.errors import BenchError, IncompleteError

if TYPE_CHECKING:
    from kaleido_bench.lint.findings import Finding
    from kaleido_bench.protocol import LoadedProtocol


def lint(
    protocol: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROTOCOL]",
            help="Protocol files, names, suites, or published evaluation indices (.json). Default: all that ships.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Check against the data sets too: ids, cameras, near-duplicates."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every case, not one line for each fault.")] = False,
    json: Json = False,
    completed: CompletedFolder = None,
) -> None:
    """Check protocols for faults. Leaks, duplicates, moving targets; ends with 1 when there is an error."""
    from kaleido_bench.lint.advice import ADVICE, list_advice
    from kaleido_bench.lint.findings import Severity
    from kaleido_bench.shipped import find_protocols
    from kaleido_bench.suites import replace_pending

    if data is not None and not data.is_dir():
        raise BenchError(
            "--data", f"no such folder {data}", expected="the folder of the data sets", fix="Correct the path."
        )
    names = replace_pending(_expand(protocol) if protocol else list(find_protocols()), completed)
    findings = find_all(names, data, verbose=verbose)
    rows: list[dict[str, object]] = [
        {
            "severity": str(finding.severity),
            "code": finding.code,
            "protocol": name,
            "case": finding.case,
            "finding": finding.message,
            **({"fix": ADVICE[finding.code]} if json else {}),
        }
        for name, finding in findings
    ]
    print_rows(rows, as_json=json, empty="nothing found")
    if not json:
        print_advice(list_advice(finding.code for _, finding in findings))
    errors = sum(finding.severity is Severity.ERROR for _, finding in findings)
    typer.echo(f"linted {len(names)}: errors {errors}, warnings and notes {len(findings) - errors}", err=True)
    if errors:
        raise IncompleteError(f"errors: {errors}, see above")


def print_advice(advice: Mapping[str, str]) -> None:
    """What to do about each code that was found, below the findings."""
    if advice:
        width = terminal_width()
        lines = [fold_text(f"  {code}: {text}", width, indent=4) for code, text in advice.items()]
        typer.echo("\n".join(["", "What to do:", *lines]))


def _expand(words: Sequence[str]) -> list[str]:
    """Suites as their protocols, whether their ids are here or not; each name once."""
    from kaleido_bench.suites import is_suite, load_suite

    names = [name for word in words for name in (load_suite(word).protocols if is_suite(word) else (word,))]
    return list(dict.fromkeys(names))


def find_all(names: Sequence[str], data: Path | None, *, verbose: bool) -> list[tuple[str, Finding]]:
    """What is wrong with each of these, and between them."""
    from kaleido_bench.lint.data import lint_data
    from kaleido_bench.lint.findings import sort_findings, summarise_findings
    from kaleido_bench.lint.rivals import find_rival_targets

    found: dict[str, list[Finding]] = {}
    loaded: dict[str, LoadedProtocol] = {}
    for name in names:
        findings, protocol = _lint_one(name)
        if protocol is not None:
            loaded[name] = protocol
            findings += lint_data(protocol, data) if data is not None else []
        found[name] = findings
    rivals = find_rival_targets(list(loaded.values()))
    for name, protocol in loaded.items():
        found[name] += rivals.get(protocol.protocol.name, [])
    return [
        (name, finding)
        for name, findings in found.items()
        for finding in sort_findings(findings if verbose else summarise_findings(findings))
    ]


def _lint_one(name: str) -> tuple[list[Finding], LoadedProtocol | None]:
    """The findings without data, and the protocol where it could be loaded: loading a large index takes a second."""
    from kaleido_bench.lint.protocols import describe_failure, lint_file, lint_protocol
    from kaleido_bench.protocol import load_protocol

    if name.endswith(".json"):
        return lint_file(name), None
    try:
        loaded = load_protocol(name)
    except BenchError as error:
        return [describe_failure(error)], None
    return lint_protocol(loaded), loaded
