"""Pages of results: whole, the same bytes again, numbers of others told apart, and nobody's files touched."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import load_protocol
from kaleido_bench.publish.boards import Shelf, read_boards
from kaleido_bench.publish.reported import Reported, load_external, load_reported
from kaleido_bench.publish.site import Subjects, build_site, load_subjects, write_site
from kaleido_bench.publish.site.curves import choose_ticks, render_curves
from kaleido_bench.publish.site.lists import render_index
from kaleido_bench.publish.site.pages import render_page
from kaleido_bench.publish.site.published import group_published
from kaleido_bench.publish.site.subjects import ResultFile, Subject
from kaleido_bench.publish.site.tables import build_scene, order_results, split_section
from kaleido_bench.publish.tables import build_table
from kaleido_bench.records import sha256_hex
from kaleido_bench.score.results.records import ModelCard, Result, render_result
from tests.publish.conftest import make_result
from tests.publish.test_html import Page

ROOT = Path(__file__).resolve().parents[2]
MakeResult = Callable[..., Result]

PSNR = {"psnr": (20.0,), "ssim": (0.7,), "lpips-alex": (0.2,)}


@pytest.fixture(scope="module")
def subjects() -> Subjects:
    boards = read_boards(ROOT / "leaderboards", Shelf(None)).boards
    return load_subjects(boards, load_reported(), load_external())


@pytest.fixture(scope="module")
def site(subjects: Subjects) -> dict[str, bytes]:
    return build_site(subjects, markdown=True)


def reported(method: str, text: str, **fields: object) -> Reported:
    defaults = {
        "protocol": "re10k/pixelsplat-2v",
        "references": 2,
        "metric": "psnr",
        "convention": "pixelsplat-offline",
        "resolution": "256x256",
        "flags": (),
        "source": "a paper",
        "confidence": "Q",
        "note": "",
    }
    return Reported(**{**defaults, "method": method, "text": text, **fields})  # type: ignore[arg-type]


def make(
    model: str, values: dict[str, tuple[float, ...]], card_fields: dict[str, object] | None = None, **fields: Any
) -> Result:
    """A result of the tables' tests whose model says what it was trained on: nothing."""
    return make_result(model, values, **fields).model_copy(update={"model": card(model, **(card_fields or {}))})


def card(model: str, **fields: object) -> ModelCard:
    defaults: dict[str, object] = {"fingerprint": "f", "weights_sha256": None, "settings": {}, "training_data": ()}
    return ModelCard(model=model, name=model.split("@")[0], variant=None, **{**defaults, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def leaky() -> Subject:
    """A published split with leaked targets, our results on it, and numbers of others."""
    loaded = load_protocol("re10k/pixelsplat-2v")
    shape: dict[str, Any] = {
        "labels": ("2",),
        "targets": "as-published",
        "leaked": 583,
        "protocol": "re10k/pixelsplat-2v",
    }
    results = [
        make("nearest", {"psnr": (18.111,)}, strict_gap=1.0, **shape),
        make("mine", PSNR, {"training_data": ("re10k",)}, strict_gap=1.0, **shape),
    ]
    rows = [
        reported("Comparable", "25.89"),
        reported("Comparable", ".858", metric="ssim"),
        reported("Otherwise", "99.99", convention="mvsplat"),
    ]
    files = {each.model.model: ResultFile(f"{each.model.model}.json", render_result(each)) for each in results}
    protocol = loaded.protocol
    return Subject(protocol, loaded, tuple(order_results(results)), files, group_published(rows, protocol))


# The whole site


def test_the_same_results_give_the_same_bytes(subjects: Subjects, site: dict[str, bytes]) -> None:
    assert build_site(subjects, markdown=True) == site
    text = b"".join(site.values()).decode()
    assert not re.search(r"20\d\d-\d\d-\d\dT|/work/|/tmp/|/home/", text), "a clock or a path"


def test_every_link_leads_somewhere(site: dict[str, bytes]) -> None:
    for name, data in site.items():
        if name.endswith((".html", ".md")):
            found = re.findall(r'href="([^"]+)"' if name.endswith(".html") else r"\]\(([^)]+)\)", data.decode())
            assert found or name == "index.html"
            for link in found:
                parts: list[str] = []
                for part in (PurePosixPath(name).parent / unquote(link)).parts:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                assert "/".join(parts) in site, f"{name} -> {link}"


def test_every_page_is_well_formed_and_asks_nobody(site: dict[str, bytes]) -> None:
    for name, data in site.items():
        if name.endswith(".html"):
            text = data.decode()
            Page(re.sub(r"<(circle|line|polyline)([^>]*)/>", r"<\1\2></\1>", text))
            assert not re.search(r"url\(|@import|<img|<link|<iframe| src=| style=| onclick=", text), name
            assert text.count("<h1") == 1 and 'lang="en"' in text


def test_every_result_and_every_published_number_is_somewhere(subjects: Subjects, site: dict[str, bytes]) -> None:
    for subject in subjects.measured:
        page = site[f"{subject.protocol.name}.html"].decode()
        assert subject.loaded is not None and subject.loaded.hash in page
        assert set(subject.files) == {result.model.model for result in subject.results}
        for model, file in subject.files.items():
            assert f">{model}" in page and site[f"data/{subject.protocol.name}/{file.name}"] == file.data
    lines = [
        line for each in (*subjects.measured, *subjects.unmeasured, *subjects.elsewhere) for line in each.published
    ]
    assert sum(len(line.values) for line in lines) == len(load_reported())
    index = site["index.html"].decode()
    for each in (*subjects.measured, *subjects.unmeasured):
        assert f'href="{each.protocol.name}.html"' in index


# One page


def test_ranks_are_of_what_is_printed_and_ties_share_one() -> None:
    ties = [("a", 20.001), ("b", 20.004), ("c", 19.0), ("d", 20.5)]
    results = [make(name, {"psnr": (value,)}, labels=("1",)) for name, value in ties]
    loaded = load_protocol("quickstart")
    page = render_page(Subject(loaded.protocol, loaded, tuple(order_results(results)), _files(results), ()))
    cells = re.findall(r">([\d.]+)(?:<span[^>]*>[^<]*</span>)?<small class=\"rank\">.*?</span>(=?\d)</small>", page)
    assert cells == [("20.50", "1"), ("20.00", "=2"), ("20.00", "=2"), ("19.00", "4")]


def _files(results: list[Result]) -> dict[str, ResultFile]:
    return {each.model.model: ResultFile(f"{each.model.model}.json", b"{}") for each in results}


def test_models_stand_by_their_ranks_in_the_first_metric(result: MakeResult) -> None:
    def build(name: str, *psnr: float) -> Result:
        return result(name, {"psnr": psnr, "ssim": (0.1, 0.1, 0.1)})

    results = [
        build("b", 9.0, 9.0, 9.0),
        build("a", 9.0, 9.0, 9.0),
        build("late", 1.0, 1.0, 99.0),
        build("top", 8, 50, 50),
    ]
    assert [each.model.model for each in order_results(results)] == ["a", "b", "top", "late"]
    assert order_results([]) == []


def test_both_kinds_of_targets_are_there_where_a_split_leaks(leaky: Subject) -> None:
    page = render_page(leaky)
    assert page.count("All targets, as published</h3>") == page.count("Without targets that are references</h3>") == 1
    assert ">20.00<" in page and ">19.00<" in page and "583 of them references too" in page


def test_published_numbers_are_apart_and_never_ranked(leaky: Subject) -> None:
    page = render_page(leaky)
    results, published = page.split("<h2>Published numbers</h2>")
    assert "25.89" not in results and "99.99" not in results
    same, other = published.split("<h3>Not comparable with ours, and why</h3>")
    assert "25.89" in same and "99.99" in other and "convention mvsplat, ours pixelsplat-offline" in other
    # `nearest`, measured here, stands above what compares and not above what does not.
    assert "nearest, measured here" in same and "18.11" in same and "measured here" not in other
    assert "rank" not in published.split("<h2>Models</h2>")[0].replace("ranked", "")
    without = render_page(leaky._replace(published=()))
    cells = re.compile(r"<small class=\"rank\">.*?</small>")
    assert cells.findall(without) == cells.findall(page), "numbers of others moved a rank"


def test_what_a_model_was_trained_on_is_said(leaky: Subject) -> None:
    page = render_page(leaky)
    assert 'mine <span class="none">trained on it</span>' in page
    assert 'nearest <span class="none">baseline</span>' in page
    rows = re.findall(r'<th scope="row">(\w+)</th><td class="words short">(\w+)</td>', page)
    assert rows == [("mine", "no"), ("nearest", "yes")]


def test_names_are_text() -> None:
    name = '<script>alert("x")</script>&amp;'
    loaded = load_protocol("quickstart")
    results = [make(name, {"psnr": (1.0, 2.0, 3.0)}, {"settings": {"<i>": "</table>"}})]
    lines = group_published([reported(name, "1.0", source="<b>x</b>", note="<u>")], loaded.protocol)
    subject = Subject(loaded.protocol, loaded, tuple(results), _files(results), lines)
    for text in (render_page(subject), render_index(Subjects((subject,), (), ()))):
        assert name not in text and "<b>" not in text and "<i>" not in text and "<u>" not in text
        Page(re.sub(r"<(circle|line|polyline)([^>]*)/>", r"<\1\2></\1>", text))


# Parts


def test_a_wide_table_is_cut_between_metrics_and_loses_nothing(result: MakeResult) -> None:
    labels = ("1", "2", "3", "5", "10", "20")
    values = dict.fromkeys(("psnr", "ssim", "lpips-alex"), (1.0,) * 6)
    section = build_table([result("a", values, labels=labels)]).sections[0]
    blocks = list(split_section(section, 12))
    assert [[column.metric for column in block.columns[::6]] for block in blocks] == [["psnr", "ssim"], ["lpips-alex"]]
    assert [cell for block in blocks for cell in block.rows[0].cells] == list(section.rows[0].cells)
    assert [len(block.columns) for block in split_section(section, 1)] == [6, 6, 6]


def test_a_scene_has_its_own_means(subjects: Subjects) -> None:
    subject = next(each for each in subjects.measured if each.protocol.name == "real/objects-few")
    scene = subject.results[0].scenes[0]
    section = build_scene(subject.results, scene.scene)
    assert section.title == scene.scene and section.scenes == 1
    assert section.rows[0].cells[0].mean == scene.mean
    assert section.target_views == sum(
        mean.views
        for mean in subject.results[0].scenes
        if (mean.scene, mean.metric, mean.targets) == (scene.scene, "psnr", "as-published")
    )


def test_numbers_that_were_printed_together_share_a_line_and_others_do_not() -> None:
    rows = [
        reported("A", "20.1"),
        reported("A", ".8", metric="ssim"),
        reported("A", "20.2"),
        reported("A", "25.0", references=6),
        reported("A", "21.0", source="another paper"),
    ]
    lines = group_published(rows, None)
    assert [(line.references, line.values) for line in lines] == [
        (2, {"psnr": "20.1", "ssim": ".8"}),
        (2, {"psnr": "20.2"}),
        (2, {"psnr": "21.0"}),
        (6, {"psnr": "25.0"}),
    ]


@pytest.mark.parametrize(
    ("low", "high"), [(12.2, 18.6), (0.31, 0.33), (0.0, 1.0), (5.0, 5.0), (0.0, 0.0), (-0.2, 0.9), (99.0, 1234.5)]
)
def test_ticks_are_round_and_hold_all_values(low: float, high: float) -> None:
    ticks = choose_ticks(low, high)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(ticks)}
    assert ticks[0] <= low and high <= ticks[-1] and 2 <= len(ticks) <= 8 and len(steps) == 1
    assert f"{steps.pop():e}"[0] in "125"


def test_curves_need_numbers_of_references(result: MakeResult) -> None:
    def draw(*labels: str, **fields: object) -> str:
        values = {"psnr": (1.0, 2.0, float("inf"))[: len(labels)]}
        table = build_table([result("a", values, labels=labels, **fields)])
        return "".join(render_curves(table.sections[0], ["a"]))

    assert draw("all") == draw("3") == ""
    drawn = draw("1", "3", "6")
    assert drawn.count("<circle") == 1 + 2, "the key, and the two finite values"
    assert "inf" not in drawn and "nan" not in drawn and 'class="line baseline"' in drawn


# The folder


def test_a_build_writes_what_changed_and_removes_what_it_made_before(tmp_path: Path) -> None:
    out = tmp_path / "pages"
    first = write_site(out, {"index.html": b"1", "real/a.html": b"2", "data/real/a/x@y+z=1.json": b"3"})
    assert (first.pages, first.files, first.changed, first.removed) == (2, 3, 3, 0)
    (out / "mine.txt").write_text("mine")
    (out / "real/mine.txt").write_text("mine")
    again = write_site(out, {"index.html": b"1", "real/b.html": b"4"})
    assert (again.changed, again.removed) == (1, 2)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {"index.html", "real/b.html", "files.json", "mine.txt", "real/mine.txt"}
    assert not (out / "data").exists()
    assert write_site(out, {"index.html": b"1", "real/b.html": b"4"}).changed == 0


def test_nobodys_file_is_overwritten_or_removed(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(BenchError, match=r"index.html: a file that no build made; .*-o"):
        write_site(tmp_path, {"index.html": b"1", "a.html": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    out = tmp_path / "pages"
    write_site(out, {"index.html": b"1", "a.html": b"2"})
    (out / "a.html").write_text("changed by hand")
    assert write_site(out, {"index.html": b"1"}).removed == 0 and (out / "a.html").exists()


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt"])
def test_a_forged_list_of_files_reaches_nothing_outside(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    out = tmp_path / "pages"
    write_site(out, {"index.html": b"1"})
    document = json.loads((out / "files.json").read_text())
    document["files"][name] = sha256_hex(b"x")
    (out / "files.json").write_text(json.dumps(document))
    with contextlib.suppress(BenchError):
        write_site(out, {"index.html": b"1"})
    assert outside.exists()


def test_a_long_name_leaves_room_for_its_numbers_on_a_narrow_screen(site: dict[str, bytes]) -> None:
    """The first column stays in sight while the others scroll: without a limit a long name hides all of them."""
    page = site["quickstart.html"].decode()
    assert re.search(r"th\[scope=row\] \{ max-width: min\(\d+rem, 45vw\); white-space: normal; \}", page)
    assert re.search(r"body \{[^}]*overflow-wrap: break-word", page)
