"""How the numbers of a page are ordered and cut, so that a table fits a screen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaleido_bench.publish.tables import Section, build_table
from kaleido_bench.publish.words import Group, group_columns
from kaleido_bench.score.results.records import MeanRecord, Result, SceneMeanRecord

COLUMNS = 10
"""So many columns of a table stand side by side, unless one metric alone has more."""

SCENES_SHOWN = 60
"""Of a protocol with more scenes a page has no numbers of each scene; the files of its results have."""


def order_results(results: Sequence[Result]) -> list[Result]:
    """Models by the sum of their ranks in the first metric over the numbers of references; equal ones by name.

    It decides no more than who stands above whom: ranks are those of each column.
    """
    if not results:
        return []
    section = build_table(results).sections[0]
    first = group_columns(section.columns)[0].places
    worst = len(section.rows) + 1
    sums = [sum(row.cells[place].rank or worst for place in first) for row in section.rows]
    return [
        result
        for _, _, result in sorted(
            zip(sums, (r.model.model for r in results), results, strict=True), key=lambda each: each[:2]
        )
    ]


def split_section(section: Section, columns: int = COLUMNS) -> Iterator[Section]:
    """The same section as several with no more columns than that, or with one metric each."""
    block: list[Group] = []
    for group in group_columns(section.columns):
        if block and sum(len(each.places) for each in (*block, group)) > columns:
            yield _keep(section, block)
            block = []
        block.append(group)
    yield _keep(section, block)


def _keep(section: Section, groups: Sequence[Group]) -> Section:
    places = [place for group in groups for place in group.places]
    return section._replace(
        columns=tuple(section.columns[place] for place in places),
        rows=tuple(row._replace(cells=tuple(row.cells[place] for place in places)) for row in section.rows),
    )


def list_scenes(results: Sequence[Result]) -> tuple[str, ...]:
    """The scenes of some results of one protocol, by name; none where there are too many to show."""
    names = sorted({mean.scene for result in results for mean in result.scenes})
    return tuple(names) if len(names) <= SCENES_SHOWN else ()


def build_scene(results: Sequence[Result], scene: str) -> Section:
    """The table of one scene: the means over its views, ranked as any."""
    return build_table([_narrow(result, scene) for result in results], samples=False).sections[0]


def _narrow(result: Result, scene: str) -> Result:
    """A result as if its protocol had this one scene. Made to be drawn and never written."""
    means = [mean for mean in result.scenes if mean.scene == scene]
    protocol = result.protocol.model_copy(update={"scenes": 1, "title": scene, "target_views": _count_views(means)})
    records = [
        MeanRecord(
            references=mean.references,
            metric=mean.metric,
            targets=mean.targets,
            mean=mean.mean,
            views=mean.views,
            scenes=1,
        )
        for mean in means
    ]
    return result.model_copy(
        update={
            "protocol": protocol,
            "means": tuple(records),
            "sample_means": (),
            "notes": (),
        }
    )


def _count_views(means: Sequence[SceneMeanRecord]) -> int:
    """Target views of a scene over all numbers of references."""
    counted = {mean.references: mean.views for mean in means if mean.targets == "as-published"}
    return sum(counted.values())
