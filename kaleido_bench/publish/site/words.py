"""What pages say in words, in HTML and in Markdown alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kaleido_bench.conventions import list_caveats, load_convention
from kaleido_bench.protocol import PendingIndex, Protocol, fields_hash
from kaleido_bench.publish.site.published import PublishedLine, list_metrics, published_arrow
from kaleido_bench.publish.site.subjects import Subject
from kaleido_bench.publish.tables import Section, round_mean
from kaleido_bench.publish.words import count, metric_title
from kaleido_bench.records import short_hash
from kaleido_bench.score.results.records import Result

BASELINES = ("nearest", "mean")
"""Methods that learn nothing and render nothing: what a number is worth is how far it is above theirs."""

MEASURED = (
    "Measured here: each number is computed by this project's code from predictions that are all there, under the "
    "convention above. Ranks are of the numbers as printed; equal ones share a rank."
)

PUBLISHED = (
    "Published by others and copied from their papers and repositories. Nothing here was computed by this project, and "
    "none of it is ranked."
)

NOTHING = "–"

WHY_NOT = "why not"
"""The heading over the reasons of `judge_reported`."""

COMPARES = "As far as is known, made as ours: same convention, image size, cameras and numbers of references"

COMPARES_NOT = "Not comparable with ours, and why"


class Fact(NamedTuple):
    """A line of the head of a page; `mono` is to be copied as it is."""

    title: str
    text: str
    mono: bool = False


def list_facts(subject: Subject) -> list[Fact]:
    """What a protocol asks, in a few lines."""
    protocol, loaded = subject.protocol, subject.loaded
    convention = load_convention(protocol.convention)
    counts = protocol.reference_counts
    size = protocol.preparation.size
    facts = [
        Fact("protocol", f"{protocol.name}, version {protocol.version}"),
        Fact("hash", loaded.hash if loaded is not None else f"{fields_hash(protocol)} (of its fields)", mono=True),
        Fact("convention", convention.name),
        Fact("its hash", convention.hash, mono=True),
        Fact("data", f"{protocol.dataset.name}, {protocol.dataset.revision}"),
        Fact("images", "as stored" if size is None else f"{size[0]} x {size[1]} pixels, {protocol.preparation.fit}"),
        Fact("references", "all views that are no target" if isinstance(counts, str) else ", ".join(map(str, counts))),
        Fact("targets", _describe_targets(subject)),
        Fact("samples", _describe_samples(protocol)),
    ]
    if isinstance(protocol.index, PendingIndex):
        facts.append(Fact("view ids", f"pending: {protocol.index.obtain}"))
    return [*facts, Fact("run it", _write_command(protocol), mono=True)]


def _describe_samples(protocol: Protocol) -> str:
    several = f"{protocol.samples} a case of a method that draws, one of a method that does not"
    return several if protocol.samples > 1 else "one a case"


def _describe_targets(subject: Subject) -> str:
    kind = "strict-novel: none is a reference" if subject.protocol.targets == "strict-novel" else "as published"
    if subject.loaded is None:
        return kind
    cases = subject.loaded.cases
    scenes = len({case.scene for case in cases})
    views = sum(len(case.targets) for case in cases)
    leaked = sum(len(set(case.targets) & set(case.references)) for case in cases)
    shown = f", {leaked} of them references too" if leaked else ""
    extent = f"{count(views, 'view')} in {count(len(cases), 'case')} of {count(scenes, 'scene')}"
    return f"{extent}; {kind}{shown}"


def _write_command(protocol: Protocol) -> str:
    data = "" if protocol.dataset.root.startswith("package:") else " --data DIR"
    pending = " --completed DIR" if isinstance(protocol.index, PendingIndex) else ""
    return f"kbench run {protocol.name} --model NAME{data}{pending}"


def list_remarks(protocol: Protocol) -> list[tuple[str, tuple[str, ...]]]:
    """Known problems, what the convention leaves open, and sources: each a heading and its lines."""
    caveats = list_caveats(load_convention(protocol.convention))
    remarks = [("Known problems", protocol.known_problems), ("The convention", caveats), ("Sources", protocol.sources)]
    return [(title, tuple(lines)) for title, lines in remarks if lines]


def tag_models(results: Sequence[Result], data_set: str) -> dict[str, str]:
    """A word beside the names of some models: baselines, and those that know the data set."""
    tags = {result.model.model: "baseline" for result in results if result.model.name in BASELINES}
    seen = {r.model.model: "trained on it" for r in results if data_set in (r.model.training_data or ())}
    return tags | seen


def list_baselines(results: Sequence[Result]) -> list[str]:
    """The labels of those that are baselines."""
    return [result.model.model for result in results if result.model.name in BASELINES]


MODEL_HEADINGS = ("model", "zero-shot", "trained on", "samples", "settings", "weights", "predictions")


def write_model(result: Result, data_set: str) -> tuple[str, ...]:
    """A model in words, under `MODEL_HEADINGS`."""
    model = result.model
    training = model.training_data
    zero_shot = "unknown" if training is None else "no" if data_set in training else "yes"
    return (
        model.model,
        zero_shot,
        "unknown" if training is None else ", ".join(training) or "nothing",
        str(result.samples),
        ", ".join(f"{key} {value}" for key, value in model.settings.items()) or "–",
        "–" if model.weights_sha256 is None else short_hash(model.weights_sha256),
        short_hash(result.predictions_sha256),
    )


def name_targets(section: Section) -> str:
    """The heading over a section, where a protocol is there twice."""
    return "All targets, as published" if section.targets == "as-published" else "Without targets that are references"


class PublishedTable(NamedTuple):
    """Lines of others' numbers, in words."""

    title: str
    headings: tuple[str, ...]
    numbers: range  # the places of cells that are numbers
    lines: tuple[tuple[str, ...], ...]
    anchors: tuple[tuple[str, ...], ...]  # our baselines under the same protocol, on top


def build_published(subject: Subject) -> list[PublishedTable]:
    """Others' numbers: those that compare with ours, and those that do not."""
    compares = [line for line in subject.published if not line.reasons]
    other = [line for line in subject.published if line.reasons]
    tables = [(COMPARES, compares, subject.results), (COMPARES_NOT, other, ())]
    return [build_published_table(title, lines, results) for title, lines, results in tables if lines]


def build_published_table(title: str, lines: Sequence[PublishedLine], results: Sequence[Result]) -> PublishedTable:
    """One table of others' numbers; columns in which nothing stands are left out.

    Args:
        results: of ours under the same protocol; those of `nearest` are put on top, to tell how hard the question is.
    """
    metrics = list_metrics(lines)
    numbers: dict[str, list[str]] = {
        "references": [str(line.references or NOTHING) for line in lines],
        **{
            f"{metric_title(metric)} {published_arrow(metric)}": [line.values.get(metric, NOTHING) for line in lines]
            for metric in metrics
        },
    }
    words = {head: cells for head, cells in _list_words(title, lines).items() if set(cells) != {NOTHING}}
    columns = [[line.method for line in lines], *numbers.values(), *words.values()]
    counts = {str(line.references) for line in lines}
    anchors = [
        (*anchor, *[""] * len(words))
        for result in results
        if result.model.name == BASELINES[0]
        for anchor in _list_anchors(result, metrics, counts)
    ]
    return PublishedTable(
        title,
        ("method", *numbers, *words),
        range(1, 1 + len(numbers)),
        tuple(zip(*columns, strict=True)),
        tuple(anchors),
    )


def _list_words(title: str, lines: Sequence[PublishedLine]) -> dict[str, list[str]]:
    """What stands beside the numbers, by heading. Of a protocol of ours, `why not` says where a number was made in
    another way; else it was made in ours.
    """
    ours = title in (COMPARES, COMPARES_NOT)
    made_elsewhere = {
        "convention": [line.convention for line in lines],
        "image size": [
            line.resolution.replace("x", " x ") if line.resolution[0].isdigit() else line.resolution for line in lines
        ],
    }
    return {
        WHY_NOT: ["; ".join(line.reasons) or NOTHING for line in lines],
        **({} if ours else made_elsewhere),
        "how": ["; ".join(each for each in line.made if each not in line.reasons) or NOTHING for line in lines],
        "source": [f"{line.source}{' (secondary)' if line.secondary else ''}" for line in lines],
        "note": [line.note or NOTHING for line in lines],
    }


def _list_anchors(result: Result, metrics: Sequence[str], counts: set[str]) -> list[tuple[str, ...]]:
    kind = result.protocol.targets
    means = {(m.references, m.metric): m.mean for m in result.means if m.targets == kind}
    lines: list[tuple[str, ...]] = []
    for label in result.protocol.reference_labels:
        if label in counts or label == "all":
            numbers = [means.get((label, metric)) for metric in metrics]
            texts = [NOTHING if n is None else round_mean(m, n) for m, n in zip(metrics, numbers, strict=True)]
            lines.append((f"{result.model.model}, measured here", label, *texts))
    return lines


def summarise_published(lines: Sequence[PublishedLine]) -> str:
    """`66 numbers of 12 methods, 30 comparable`."""
    numbers = sum(len(line.values) for line in lines)
    comparable = sum(len(line.values) for line in lines if not line.reasons)
    methods = len({line.method for line in lines})
    return f"{count(numbers, 'number')} of {count(methods, 'method')}, {comparable or 'none'} comparable"
