"""The errors a person sees. One line each: what was found, what was expected, where, and what to do next."""

from __future__ import annotations


class BenchError(Exception):
    """The call, or a file it names, was wrong. The command line prints the message and exits with 2.

    Args:
        where: the file, with its line where known, or the argument.
        found: what was found there.
        expected: what would have been right.
        fix: what to do next; a command where there is one.
    """

    def __init__(self, where: object, found: str, *, expected: str, fix: str) -> None:
        self.where, self.found, self.expected, self.fix = str(where), found, expected, fix
        super().__init__(f"{where}: {found}; expected {expected}. {fix}".replace("\n", " "))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are pickled by their message alone, which is not what the constructor takes.
        return _rebuild, (type(self), self.where, self.found, self.expected, self.fix)


def _rebuild(kind: type[BenchError], where: str, found: str, expected: str, fix: str) -> BenchError:
    error = kind.__new__(kind)  # without its own constructor, which may take something else
    BenchError.__init__(error, where, found, expected=expected, fix=fix)
    return error


class IncompleteError(Exception):
    """The call was right, but something it needs is not all there. The command line prints the message and exits with
    1.
    """
