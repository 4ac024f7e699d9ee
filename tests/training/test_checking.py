"""Calls of `kbench train`, checked before anything is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.training.calls import DataCall
from kaleido_bench.training.checking import build_budget, check_initial, check_out, open_data
from kaleido_bench.training.presets import change_preset, load_preset
from reference_model.presets import PRESETS, smoke


def test_real_captures_can_be_trained_on(data_dir: Path) -> None:
    """Photographs of many sizes, renders over transparency, millimetres and metres: a step of each scene once."""
    source = open_data(
        DataCall(str(data_dir / "scenes"), "transforms", "real", None, "white", "random", None, 0, 1.0),
        load_preset("smoke", ("train.view_rule=mixed", "train.view_pool=2")),
        pytest.fail,
    )
    try:
        count = len(source.training)
        preset = load_preset("smoke", (f'train.stages=[{{"image_size": 32, "scenes": {count}, "share": 1}}]',))
        views = source.open(preset, 0, 0, "cpu").step(0)
    finally:
        source.close()
    assert views.images.shape == (count, 4, 3, 32, 32) and bool((views.images.std((1, 2, 3, 4)) > 0.05).all())
    distance = views.c2w[..., :3, 3].norm(dim=-1).mean(1)
    assert bool((distance < 1.01).all()) and bool((distance > 0.3).all())
    # Of the shorter side: the temple's lens, the longest, is 1520 / 480 of it; a middle lies within the window.
    focal, middle = views.intrinsics[..., 0, 0] / 32, views.intrinsics[..., :2, 2] / 32
    assert bool(((focal > 1) & (focal < 3.2)).all()) and bool(((middle > 0) & (middle < 1)).all())


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ((None, None, None), "neither --minutes nor --steps nor --flops"),
        ((1.0, 5, None), "--minutes and --steps"),
        ((None, 0, None), "--steps: 0; expected a number above 0"),
        ((float("nan"), None, None), "--minutes: nan"),
    ],
)
def test_a_budget_is_one_of_three(budget: tuple[float | None, int | None, float | None], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        build_budget(*budget)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    check_out(tmp_path)
    check_out(tmp_path / "new" / "deep")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "model.new").mkdir()
    check_out(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BenchError, match=r"holds something else \(model.new, notes.txt, tensorboard\)"):
        check_out(tmp_path)
    with pytest.raises(BenchError, match=r"notes.txt is a file"):
        check_out(tmp_path / "notes.txt" / "run")
    (tmp_path / "preset.json").touch()
    with pytest.raises(BenchError, match="weights without the state of the run that made them"):
        check_out(tmp_path)
    (tmp_path / "state").mkdir()
    check_out(tmp_path)


def test_weights_to_begin_with_are_of_the_same_model() -> None:
    check_initial(Path("tiny"), PRESETS["tiny"]())
    check_initial(Path("tiny"), change_preset(PRESETS["tiny"](), ("model.image_size=256", "model.max_views=12")))
    with pytest.raises(BenchError, match=r"tiny is another model: it differs in model\..*width.*preset\.json"):
        check_initial(Path("tiny"), smoke())
    with pytest.raises(BenchError, match="--init: no checkpoint 'nowhere'"):
        check_initial(Path("nowhere"), smoke())
