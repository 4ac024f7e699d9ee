"""How a command ends: one line on standard error and an exit code.

0 done, 1 something was found wrong or is incomplete, 2 the call was wrong, 130 interrupted. Anything else that escapes
is a bug in kbench, and its traceback is shown.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import typer

from kaleido_bench.errors import BenchError, IncompleteError

EXIT_INCOMPLETE = 1
EXIT_WRONG_CALL = 2
EXIT_INTERRUPTED = 130


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

    return wrapped
