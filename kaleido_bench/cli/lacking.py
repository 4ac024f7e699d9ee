"""What a run lacks against its result, or its result against the run. Imports no torch: `kbench table` needs it too."""

from __future__ import annotations

from kaleido_bench.errors import IncompleteError
from kaleido_bench.items import plan_items
from kaleido_bench.predictions import Run, load_run_protocol, name_finish
from kaleido_bench.score.results.records import Result


def check_predicted(run: Run, result: Result) -> None:
    """Raises IncompleteError where a result lacks predictions, and so a mean: which they are, and what makes them."""
    if result.complete:
        return
    counts = result.counts
    missing = ", ".join(result.missing_items[:3])
    if (more := counts.items_expected - counts.items_found - 3) > 0:
        missing += f" and {more} more"
    raise IncompleteError(
        f"{run.path}: {counts.items_found} of {counts.items_expected} predictions are there, so the result has no "
        f"mean; missing {missing}. Finish it: `{name_finish(run)}`."
    )


def count_unscored(run: Run, result: Result) -> int:
    """How many of the protocol's predictions are there that the result does not count: they came after it."""
    planned = plan_items(load_run_protocol(run), deterministic=run.record.adapter.deterministic)
    there = sum(run.item_folder(item).is_dir() for item in planned)
    return max(0, there - result.counts.items_found)
