"""Taking a result into the folder of all results: what is refused, what it replaces, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from kaleido_bench.atomic import remove_leftovers, update_bytes_atomic
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.publish.boards import check_result, list_names, place_file, show_value
from kaleido_bench.publish.tables import round_mean
from kaleido_bench.records import short_hash
from kaleido_bench.score.results.records import Result, load_result, render_result


class Change(NamedTuple):
    """What one result has and another has not: a number of a table, or what it was made with."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.after}"


class Added(NamedTuple):
    """What became of a result."""

    path: Path
    protocol: str
    model: str
    done: Literal["added", "replaced", "unchanged"]
    changes: tuple[Change, ...]


def add_result(root: Path, result: Result, loaded: LoadedProtocol, where: str) -> Added:
    """Put a result among the others, whole or not at all; one that is there of this model is replaced.

    Args:
        root: the folder of all results; it need not be there.
        loaded: the protocol of the result's name, as it ships today.
        where: the run, for messages.

    Raises:
        IncompleteError: it is not over the whole protocol, lacks a metric, or lacks one that the result there has.
        BenchError: it is of another protocol or convention, its label is another method's there, or a file in its place
            cannot be read.
    """
    _refuse_unfinished(result, loaded, where)
    for fault in check_result(result, loaded, where):
        raise BenchError(fault.file, fault.found, expected=fault.expected, fix=fault.fix)
    path = place_file(root, result)
    before = load_result(path) if path.is_file() else None
    if before is not None:
        _refuse_other_method(before, result, path, where)
        _refuse_loss(before, result, path, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    wrote = update_bytes_atomic(path, render_result(result))
    done = "unchanged" if not wrote else "added" if before is None else "replaced"
    changes = () if before is None else tuple(list_changes(before, result))
    return Added(path, result.protocol.name, result.model.model, done, changes)


def _refuse_unfinished(result: Result, loaded: LoadedProtocol, where: str) -> None:
    if result.partial:
        reasons = ", ".join(result.partial_reasons) or "a part of the protocol"
        raise IncompleteError(
            f"{where}: its result is partial ({reasons}); a leaderboard takes whole ones. Run it without that."
        )
    if not result.complete:
        counts = result.counts
        raise IncompleteError(
            f"{where}: its result has {counts.views_found} of {counts.views_expected} views. `kbench run` finishes it."
        )
    scored = {metric.name for metric in result.metrics if metric.status == "scored"}
    # Of another protocol the metrics are not the point.
    if result.protocol.hash == loaded.hash and (lacking := [n for n in loaded.protocol.metrics if n not in scored]):
        raise IncompleteError(
            f"{where}: {', '.join(lacking)} of its protocol not scored. See `kbench weights list`, then `kbench score`."
        )


def _refuse_other_method(before: Result, after: Result, path: Path, where: str) -> None:
    """A label is the last part of a path: two programs `method.yaml` have one, and are not one method."""
    had, has = ((each.model.name, each.model.variant) for each in (before, after))
    if had != has:
        old, new = (f"{name} {variant!r}" for name, variant in (had, has))
        raise BenchError(
            where,
            f"its label {after.model.model} is that of {old} in {path}",
            expected=f"a label that no other method has ({new})",
            fix="Name the method's file or folder as nobody else does and run it under that name, or remove that file.",
        )


def _refuse_loss(before: Result, after: Result, path: Path, where: str) -> None:
    """A newer result must not take a metric off the board because some machine lacked its weights."""
    if before.protocol.hash != after.protocol.hash:
        return
    had, has = ({m.name for m in each.metrics if m.status == "scored"} for each in (before, after))
    if lost := sorted(had - has):
        raise IncompleteError(
            f"{where}: {', '.join(lost)} not scored, and {path} has it. "
            "See `kbench weights list`, then `kbench score`; or remove that file first."
        )


def list_changes(before: Result, after: Result) -> Iterator[Change]:
    """What differs between two results of one model: what they were made with, then the numbers of their tables."""
    pairs: Mapping[str, tuple[object, object]] = {
        "protocol": (short_hash(before.protocol.hash), short_hash(after.protocol.hash)),
        "convention": (short_hash(before.convention.hash), short_hash(after.convention.hash)),
        "scorer": (before.scorer_version, after.scorer_version),
        "weights": (short_hash(before.model.weights_sha256), short_hash(after.model.weights_sha256)),
        "fingerprint": (short_hash(before.model.fingerprint), short_hash(after.model.fingerprint)),
        "settings": (show_value(before.model.settings), show_value(after.model.settings)),
        "training data": (list_names(before.model.training_data), list_names(after.model.training_data)),
        "samples": (before.samples, after.samples),
        "predictions": (short_hash(before.predictions_sha256), short_hash(after.predictions_sha256)),
    }
    yield from (Change(what, str(old), str(new)) for what, (old, new) in pairs.items() if old != new)
    numbers = [_list_numbers(each) for each in (before, after)]
    for place in dict.fromkeys((*numbers[0], *numbers[1])):
        old, new = (each.get(place, "none") for each in numbers)
        if old != new:
            yield Change(f"{place[0]} ({place[1]})", old, new)


def _list_numbers(result: Result) -> dict[tuple[str, str], str]:
    targets = result.protocol.targets
    counted = (mean for mean in result.means if mean.targets == targets)
    return {(mean.metric, mean.references): round_mean(mean.metric, mean.mean) for mean in counted}
