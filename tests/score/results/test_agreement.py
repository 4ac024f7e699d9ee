"""What can be said against a result with nothing at hand but its protocol and its convention."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.cases import Case
from kaleido_bench.conventions import CapInfinite, ExcludeInfinite, ReportInfinite, find_conventions, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations
from kaleido_bench.records import sha256_hex
from kaleido_bench.score.results.agreement import find_disagreements
from kaleido_bench.score.results.records import Result, render_result
from kaleido_bench.score.results.rows import SCORER_VERSION
from tests.predict.tiny import write_data
from tests.score.desk import CONVENTION, LPIPS, Desk, predict_truth, set_up

RULE = "best mean PSNR per case and sample, chosen with the ground truth"
EXCLUDE, REPORT = ExcludeInfinite(policy="exclude"), ReportInfinite(policy="report")
SWEEP = {"cameras": "{policy: scale-sweep, scales: [0.5, 1.0]}"}


def freeze(folder: Path) -> dict[str, dict[str, str]]:
    images = write_data(folder / "data", ("arc", "bow")) / "scenes"
    return {
        scene: {path.stem: sha256_hex(path.read_bytes()) for path in (images / scene / "images").glob("*.png")}
        for scene in ("arc", "bow")
    }


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Result]:
    """Two samples a case, images frozen, LPIPS where its weights are."""
    folder = tmp_path_factory.mktemp("agreement")
    desk = set_up(folder, replace=[LPIPS], samples=2, image_sha256=freeze(folder))
    return desk, desk.result()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Result]:
    desk = set_up(tmp_path_factory.mktemp("sweep"), **SWEEP)
    return desk, desk.result()


@pytest.fixture(scope="module")
def perfect_views(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Some predictions are the truth: a PSNR at the cap, an infinite one, or a view that leaves the mean."""
    desk = set_up(tmp_path_factory.mktemp("perfect"))
    predict_truth(desk, "arc-r1", views=1)
    predict_truth(desk, "bow-r3", views=2)
    return desk


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Two scenes of one and of three targets, where a mean of means is not the mean of all; one view is perfect."""
    views = {"arc": ("0005",), "bow": ("0003", "0004", "0005")}
    cases = [
        Case(id=f"{scene}-r{count}", scene=scene, references=("0000", "0001", "0002")[:count], targets=targets)
        for scene, targets in views.items()
        for count in (1, 3)
    ]
    desk = set_up(tmp_path_factory.mktemp("uneven"), cases=cases)
    predict_truth(desk, "bow-r1", views=1)
    return desk


@pytest.mark.parametrize("name", sorted(find_conventions()))
def test_an_honest_result_agrees_under_every_convention(perfect_views: Desk, name: str) -> None:
    convention = load_convention(name)
    try:
        result = perfect_views.result(convention=convention)
    except BenchError as error:
        pytest.skip(f"{name}: {error.found}")
    assert list(find_disagreements(result, perfect_views.loaded, convention)) == []


@pytest.mark.parametrize("reduction", ["view>scene>protocol", "view>protocol"])
@pytest.mark.parametrize("pooled", [False, True], ids=["mean", "pooled"])
@pytest.mark.parametrize(
    "infinite", [CapInfinite(policy="cap", decibels=60.0), EXCLUDE, REPORT], ids=lambda p: p.policy
)
def test_means_over_the_protocol_are_made_again_for_every_reduction(
    uneven: Desk, reduction: str, pooled: bool, infinite: Any
) -> None:
    psnr = CONVENTION.psnr.model_copy(update={"aggregation": "pooled" if pooled else "per-image"})
    convention = CONVENTION.model_copy(update={"reduction": reduction, "psnr": psnr, "infinite_psnr": infinite})
    result = uneven.result(convention=convention)
    assert list(find_disagreements(result, uneven.loaded, convention)) == []
    for metric in ("psnr", "ssim"):
        wrong = edit(result, lambda document, metric=metric: set_mean(document, metric, "3", 0.5))
        found = [each.field for each in find_disagreements(wrong, uneven.loaded, convention)]
        assert f"means(3, {metric}, as-published).mean" in found


def test_leaks_sweeps_samples_and_masks_agree(
    scored: tuple[Desk, Result], swept: tuple[Desk, Result], tmp_path: Path
) -> None:
    leaky = set_up(tmp_path, targets=("0000", "0002", "0005"), target_policy="as-published")
    for desk, result in (scored, swept, (leaky, leaky.result())):
        assert list(find_disagreements(result, desk.loaded, CONVENTION)) == []


def edit(result: Result, change: Callable[[Any], None]) -> Result:
    document = json.loads(render_result(result))
    change(document)
    return Result.model_validate_json(json.dumps(document))


def set_mean(document: Any, metric: str, references: str, value: float) -> None:
    for mean in document["means"]:
        if (mean["metric"], mean["references"]) == (metric, references):
            mean["mean"] = value


def put(path: str, value: object) -> Callable[[Any], None]:
    """Sets the field at a path such as `means.0.mean`."""

    def change(document: Any) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            document = document[step]
        document[last] = value

    return change


def drop_first(field: str) -> Callable[[Any], None]:
    return lambda document: document[field].pop(0)


def repeat_first(field: str) -> Callable[[Any], None]:
    return lambda document: document[field].append(document[field][0])


EDITS = [
    (put("protocol.hash", "0" * 64), "protocol.hash"),
    (put("protocol.scenes", 3), "protocol.scenes"),
    (put("convention.hash", "0" * 64), "convention.hash"),
    (put("convention.name", "3dgs"), "convention.name"),
    (put("complete", False), "complete"),
    (put("partial", True), "partial"),
    (put("partial_reasons", ["--limit 1"]), "partial_reasons"),
    (put("samples", 4), "samples"),
    (put("deterministic", True), "samples"),
    (put("counts.views_found", 15), "counts.views_found"),
    (put("counts.items_expected", 1), "counts.items_expected"),
    (put("metrics.0.status", "weights missing"), "psnr.status"),
    (put("metrics.0.higher_is_better", False), "psnr.higher_is_better"),
    (put("metrics.0.weights", "0" * 64), "psnr.weights"),
    (drop_first("metrics"), "metrics"),
    (put("scorer_version", SCORER_VERSION - 1), "scorer_version"),
    (put("digits", 3), "digits"),
    (put("psnr_cap", 90.0), "psnr_cap"),
    (put("notes", ["scored with care"]), "notes"),
    (put("model.training_data", ["tiny"]), "notes"),
    (put("truths_sha256", "0" * 64), "truths_sha256"),
    (put("masks_sha256", "0" * 64), "masks_sha256"),
    (put("means.0.mean", 9.0), "means(1, psnr, as-published).mean"),
    (put("means.0.views", 3), "means(1, psnr, as-published).views"),
    (put("means.0.scenes", 3), "means(1, psnr, as-published).scenes"),
    (drop_first("means"), "means(1, psnr, as-published)"),
    (repeat_first("means"), "means"),
    (put("means.0.references", "2"), "means(2, psnr, as-published)"),
    (put("scenes.0.mean", 12.0), "means(1, psnr, as-published).mean"),
    (put("scenes.0.views", 1), "scenes(1, psnr, as-published).views.arc"),
    (put("scenes.0.scene", "cat"), "scenes(1, psnr, as-published).views.cat"),
    (put("scenes.0.mean", -3.0), "scenes[arc](1, psnr, as-published).mean"),
    (lambda document: set_mean(document, "ssim", "1", 1.5), "means(1, ssim, as-published).mean"),
    (put("sample_means", []), "sample_means, whether there are any"),
    (put("sample_means.0.best", 1.0), "sample_means(1, psnr, as-published).best"),
    (put("sample_means.0.spread", -0.1), "sample_means(1, psnr, as-published).spread"),
    (put("scale_sweep", {"rule": RULE, "scales": [1.0], "chosen": []}), "scale_sweep"),
]


@pytest.mark.parametrize(("change", "field"), EDITS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_edit_is_found(scored: tuple[Desk, Result], change: Callable[[Any], None], field: str) -> None:
    desk, result = scored
    found = [each.field for each in find_disagreements(edit(result, change), desk.loaded, CONVENTION)]
    assert field in found


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (put("scale_sweep", None), "scale_sweep"),
        (put("scale_sweep.scales", [0.5, 2.0]), "scale_sweep.scales[1]"),
        (put("scale_sweep.chosen", []), "scale_sweep.chosen"),
        (put("scale_sweep.chosen.0.scale", 3.0), "scale_sweep.chosen"),
    ],
)
def test_an_edited_sweep_is_found(swept: tuple[Desk, Result], change: Callable[[Any], None], field: str) -> None:
    desk, result = swept
    assert field in [each.field for each in find_disagreements(edit(result, change), desk.loaded, CONVENTION)]


def test_a_better_number_without_the_targets_that_are_shown_needs_such_targets(tmp_path: Path) -> None:
    desk = set_up(tmp_path)

    def part(document: Any) -> None:
        for mean in (*document["means"], *document["scenes"]):
            if mean["targets"] == "strict-novel":
                mean["mean"] *= 1.5

    wrong = edit(desk.result(), part)
    found = {each.field for each in find_disagreements(wrong, desk.loaded, CONVENTION)}
    assert "means(1, psnr, strict-novel).mean" in found


def test_a_title_may_be_put_better(scored: tuple[Desk, Result]) -> None:
    desk, result = scored
    assert list(find_disagreements(edit(result, put("protocol.title", "Better")), desk.loaded, CONVENTION)) == []


def test_of_another_question_nothing_else_is_said(scored: tuple[Desk, Result]) -> None:
    desk, result = scored
    other = edit(result, put("protocol.hash", "0" * 64))
    assert [each.field for each in find_disagreements(other, desk.loaded, CONVENTION)] == ["protocol.hash"]


def test_less_than_the_protocol_is_found(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    part = desk.result(deviations=Deviations(scenes=("arc",)))
    found = {each.field for each in find_disagreements(part, desk.loaded, CONVENTION)}
    assert {"partial", "counts.items_expected", "scenes(1, psnr, as-published).views.bow"} <= found
