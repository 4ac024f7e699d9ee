"""How a command ends: one line on standard error and an exit code.

0 done, 1 something was found wrong or is incomplete, 2 the call was wrong, 130 interrupted. Anything else that escapes
is a bug in kbench, and its traceback is shown.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from kaleido_bench.errors import BenchError, IncompleteError

EXIT_INCOMPLETE = 1
EXIT_WRONG_CALL = 2
EXIT_INTERRUPTED = 130


USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's error of a call that cannot be parsed. typer (which may bring its own click) exports only its children."""


class OneLineGroup(TyperGroup):
    """A program whose usage errors are one line like all others; typer's take four."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except USAGE_ERROR as error:
            if not standalone_mode:
                raise
            _print_usage_error(error)
            code = EXIT_WRONG_CALL
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _print_usage_error(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # the help itself: nothing was asked for
        return
    command = "kbench" if error.ctx is None else error.ctx.command_path
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    end = "" if message.endswith((".", "?")) else "."
    typer.echo(f"kbench: error: {message}{end} See `{command} --help`.", err=True)


def exit_code(error: BenchError | IncompleteError) -> int:
    return EXIT_WRONG_CALL if isinstance(error, BenchError) else EXIT_INCOMPLETE


def print_error(error: BenchError | IncompleteError) -> None:
    """`kbench: error: ...`, on one line whatever the message holds."""
    message = " ".join(str(error).split())
    typer.echo(f"kbench: error: {message}", err=True)


def ends_cleanly(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that it ends as the head of this file says."""

    @functools.wraps(command)
    def wrapped(*args: object, **options: object) -> None:
        try:
            command(*args, **options)
        except (BenchError, IncompleteError) as error:
            print_error(error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            typer.echo("kbench: interrupted. The same command finishes the rest.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output has gone (`kbench list | head`): leave, and keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if error.filename is None:
                raise  # of no file that a person could see to
            print_error(IncompleteError(f"{error.filename}: {error.strerror}. See that it can be read and written."))
            raise typer.Exit(EXIT_INCOMPLETE) from error

    return wrapped
