"""`kbench lint`: what can be wrong with a protocol, checked without any model."""

from __future__ import annotations

import typer

from kaleido_bench.cli.options import Json, Protocols
from kaleido_bench.cli.printing import print_rows
from kaleido_bench.errors import IncompleteError


def lint(protocol: Protocols, json: Json = False) -> None:
    """Check protocols for faults. Leaks, duplicates, moving targets; ends with 1 when there is an error."""
    from kaleido_bench.lint import Severity, lint_file

    findings = [(name, finding) for name in protocol for finding in lint_file(name)]
    rows: list[dict[str, object]] = [
        {
            "severity": str(finding.severity),
            "code": finding.code,
            "protocol": name,
            "case": finding.case,
            "finding": finding.message,
        }
        for name, finding in findings
    ]
    print_rows(rows, as_json=json, empty="nothing found")
    errors = sum(finding.severity is Severity.ERROR for _, finding in findings)
    typer.echo(f"linted {len(protocol)}: errors {errors}, warnings and notes {len(findings) - errors}", err=True)
    if errors:
        raise IncompleteError(f"errors: {errors}, see above")
