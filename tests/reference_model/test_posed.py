"""Posed captures as training data: geometry, purity, choice of views, memory, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from reference_model.config import Preset, Stage
from reference_model.presets import smoke
from reference_model.training.posed import Ask, PosedScene, PosedSource, draw_pool, shuffle
from reference_model.training.squares import Cache, cut_square, scale_to_cover
from reference_model.training.steps import StepViews
from reference_model.worlds.cameras import look_at


def paint(c2w: np.ndarray, k: np.ndarray, width: int, height: int) -> np.ndarray:
    """What a pinhole sees of colours that vary smoothly over the plane z = 0: a closed form in world coordinates, so
    that an image that was moved without its K shows.
    """
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(k).T @ c2w[:3, :3].T
    hit = c2w[:3, 3] - rays * (c2w[2, 3] / rays[..., 2:])
    waves = [np.sin(1.1 * hit[..., 0] + 0.7), np.sin(0.9 * hit[..., 1]), np.sin(0.6 * (hit[..., 0] + hit[..., 1]))]
    return np.round(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


class Counted:
    """Images that count how often they are read."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images, self.reads = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, view: int) -> np.ndarray:
        self.reads += 1
        return self.images[view]


def make_scene(name: str, views: int, *, width: int = 48, height: int = 32, ordered: bool = False) -> PosedScene:
    """Cameras along an arc above the plane, looking down at it, in a unit of their own."""
    angles = np.linspace(0, 2, views)
    eyes = torch.tensor(np.stack([2 * np.cos(angles), 2 * np.sin(angles), np.full(views, 4.0)], -1))
    c2w = look_at(eyes, torch.zeros_like(eyes), torch.zeros(views)).numpy().astype(np.float64)
    k = np.array([[60.0, 0, 0.53 * width], [0, 55.0, 0.46 * height], [0, 0, 1]])
    images = Counted([paint(pose, k, width, height) for pose in c2w])
    return PosedScene(name, images, c2w, np.broadcast_to(k, (views, 3, 3)), ordered)


def posed_preset(**train: object) -> Preset:
    preset = smoke()
    return dataclasses.replace(preset, train=dataclasses.replace(preset.train, **train))


@pytest.fixture
def source() -> Iterator[Callable[..., PosedSource]]:
    opened: list[PosedSource] = []

    def build(scenes: list[PosedScene] | None = None, **settings: object) -> PosedSource:
        scenes = scenes or [make_scene(f"s{i}", 7 + i) for i in range(3)]
        opened.append(PosedSource(scenes, "arcs", **{"tell": lambda _: None, "threads": 2, **settings}))  # type: ignore[arg-type]
        return opened[-1]

    yield build
    for each in opened:
        each.close()


def same(a: StepViews, b: StepViews) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("fit", ["centre", "random", "stretch"])
@pytest.mark.parametrize(("width", "height"), [(48, 32), (33, 50), (40, 40)])
def test_k_moves_with_the_pixels(fit: str, width: int, height: int) -> None:
    """The square is what the moved camera would have seen itself."""
    scene = make_scene("one", 1, width=width, height=height)
    size = 24
    moved = cut_square(scale_to_cover(scene.images[0], size, fit, "here"), size, 0.8 if fit == "random" else 0.5)
    assert moved.image.shape == (size, size, 3)
    expected = paint(scene.c2w[0], moved.matrix @ scene.intrinsics[0], size, size)
    apart = np.abs(moved.image.astype(float) - expected)[2:-2, 2:-2]  # at the border the filter sees half an image
    assert apart.mean() < 0.6 and apart.max() < 4
    astray = paint(scene.c2w[0], np.diag([1.05, 1, 1]) @ moved.matrix @ scene.intrinsics[0], size, size)
    assert np.abs(astray.astype(float) - expected).mean() > 1.5  # what five percent would make of it


def test_a_step_is_a_pure_function_of_its_number(source: Callable[..., PosedSource]) -> None:
    preset = posed_preset(view_rule="orbit", view_pool=2)
    first = source(fit="random").open(preset, 0, 0, "cpu")
    in_turn = [first.step(i) for i in range(4)]
    again = source(fit="random", memory=0, threads=1).open(preset, 0, 0, "cpu")
    assert all(same(again.step(i), in_turn[i]) for i in (3, 0, 2))
    assert not same(in_turn[0], in_turn[1])
    other = dataclasses.replace(preset, train=dataclasses.replace(preset.train, seed=1))
    assert not same(source(fit="random").open(other, 0, 0, "cpu").step(0), in_turn[0])


def test_pieces_share_a_step_s_scenes(source: Callable[..., PosedSource]) -> None:
    """Scenes come by slot, so that each piece shows others; views are chosen piece by piece."""
    opened = source([make_scene(f"s{i}", 6) for i in range(4)])
    shown: list[int] = []
    for piece in range(2):
        stream = opened.open(posed_preset(pieces=2), 1, piece, "cpu")
        shown += stream.begin(5).plan.scenes  # type: ignore[attr-defined]
    whole = opened.open(posed_preset(), 1, 0, "cpu").begin(5).plan  # type: ignore[attr-defined]
    assert shown == whole.scenes and sorted(shown) == [0, 1, 2, 3]


def test_a_scene_s_unit_is_drawn(source: Callable[..., PosedSource]) -> None:
    usual, drawn = (source().open(posed_preset(scale_jitter=jitter), 1, 0, "cpu").step(5) for jitter in (0.0, 0.5))
    factors = drawn.c2w[..., :3, 3].norm(dim=-1) / usual.c2w[..., :3, 3].norm(dim=-1)
    assert torch.equal(drawn.images, usual.images) and torch.equal(drawn.c2w[..., :3, :3], usual.c2w[..., :3, :3])
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-4)
    assert len(set(factors[:, 0].tolist())) == 4


def test_a_step_holds_what_the_model_takes(source: Callable[..., PosedSource]) -> None:
    views = source().open(posed_preset(), 1, 0, "cpu").step(0)
    assert views.images.shape == (4, 4, 3, 32, 32) and views.images.dtype == torch.float32
    assert 0 <= views.images.min() < views.images.max() <= 1
    # The rule `focus`: what the cameras look at, the plane's middle, is the origin, a mean distance of 1 away.
    assert torch.allclose(views.c2w[..., :3, 3].norm(dim=-1).mean(1), torch.ones(4), atol=0.02)
    assert not views.times.any()
    assert torch.allclose(views.intrinsics[..., 1, 1], torch.tensor(55.0))  # 32 px high, as stored


def test_every_scene_is_seen_as_often() -> None:
    seen = np.concatenate([shuffle(5, 0, number) for number in range(3)])
    assert np.bincount(seen).tolist() == [3] * 5 and len({tuple(seen[i : i + 5]) for i in (0, 5, 10)}) > 1


def test_a_window_bounds_how_far_apart_views_of_a_walk_are() -> None:
    ask = Ask.of(posed_preset(view_pool=3), 0)
    generator = np.random.default_rng(0)
    pools = [draw_pool(100, ask, 20, generator) for _ in range(200)]
    assert {len(set(pool.tolist())) for pool in pools} == {12}
    assert max(int(np.ptp(pool)) for pool in pools) <= 19
    assert min(pool.min() for pool in pools) < 5 and max(pool.max() for pool in pools) > 94
    assert len(draw_pool(100, ask, None, generator)) == 12 and len(draw_pool(5, ask, 20, generator)) == 5


def test_ordered_captures_train_as_video(source: Callable[..., PosedSource]) -> None:
    """Frames at one stride, poses hidden, times in frames."""
    scenes = [make_scene("still", 12), make_scene("clip", 12, ordered=True)]
    preset = posed_preset(stages=(Stage(image_size=16, scenes=4, share=1, video=True),))
    told: list[str] = []
    views = source(scenes, tell=told.append).open(preset, 0, 0, "cpu").step(0)
    assert torch.equal(views.c2w, torch.eye(4).expand(4, 4, 4, 4))
    gaps = views.times.sort(1).values.diff(dim=1)
    assert (gaps == gaps[:, :1]).all() and (gaps >= 1).all()
    assert told == ["data set arcs, scene still: not an ordered capture; passed over"]
    with pytest.raises(ValueError, match=r"stage 1 of the preset \(video\) .*no scene is an ordered .*video out"):
        source(scenes[:1]).check(preset)
    with pytest.raises(ValueError, match=r"view_rule 'video' .*no scene is an ordered .*another rule"):
        source(scenes[:1]).check(posed_preset(view_rule="video"))


def test_scenes_with_too_few_views_are_passed_over_and_named_once(source: Callable[..., PosedSource]) -> None:
    told: list[str] = []
    short = [make_scene("ab", 2), make_scene("abc", 3), make_scene("whole", 6)]
    opened = source(short, tell=told.append)
    opened.check(smoke())
    stream = opened.open(smoke(), 0, 0, "cpu")
    for step in range(4):
        stream.step(step)
    assert sorted(told) == [
        f"data set arcs, scene {name}: {n} views, fewer than the 4 of a sequence; passed over"
        for name, n in (("ab", 2), ("abc", 3))
    ]
    with pytest.raises(ValueError, match=r"none of 2 scenes has as many \(the most: 3\)"):
        source(short[:2]).check(smoke())
    with pytest.raises(ValueError, match="none of 2 scenes"):
        source(short[:2]).open(smoke(), 0, 0, "cpu").step(0)


def test_images_are_read_once_where_memory_allows(source: Callable[..., PosedSource]) -> None:
    scenes = [make_scene("s", 6)]
    stream = source(scenes, threads=1).open(smoke(), 0, 0, "cpu")
    for step in range(8):
        stream.step(step)
    assert scenes[0].images.reads == 6  # type: ignore[attr-defined]


def test_the_cache_holds_no_more_than_it_may() -> None:
    cache = Cache(3 * 300)
    moved = [scale_to_cover(np.full((10, 10, 3), i, np.uint8), 10, "centre", "") for i in range(5)]
    for i, each in enumerate(moved):
        assert cache.take((0, i, 10), lambda each=each: each) is each
    assert cache.held == 900 and [key[1] for key in cache.kept] == [2, 3, 4]
    cache.take((0, 2, 10), lambda: pytest.fail("it was there"))
    cache.take((0, 0, 10), lambda: moved[0])
    assert [key[1] for key in cache.kept] == [4, 2, 0]


def test_held_out_scenes_are_never_trained_on(source: Callable[..., PosedSource]) -> None:
    scenes = [make_scene(f"s{i}", 6) for i in range(5)]
    opened = source(scenes, held_out=2)
    stream = opened.open(smoke(), 0, 0, "cpu")
    for step in range(6):
        stream.step(step)
    unread = [scene.name for scene in scenes if scene.images.reads == 0]  # type: ignore[attr-defined]
    assert unread == [scenes[i].name for i in opened.held_out] and len(unread) == 2
    assert opened.describe()["data"]["held_out"] == 2  # type: ignore[index]


def test_the_model_is_scored_on_what_was_held_out(source: Callable[..., PosedSource]) -> None:
    from reference_model.inputs import build_inputs
    from reference_model.model import Kaleido

    model, inputs = Kaleido(smoke().model).eval(), build_inputs(smoke().model, "cpu")
    assert source().score(model, inputs, smoke(), "cpu") == []
    rows = source(held_out=1).score(model, inputs, smoke(), "cpu")
    assert [row["references"] for row in rows] == [1, 3] and all(row["nearest"] > 5 for row in rows)


def broken(change: Callable[[PosedScene], PosedScene]) -> list[PosedScene]:
    return [change(make_scene("odd", 6))]


@pytest.mark.parametrize(
    ("scenes", "settings", "message"),
    [
        ([], {}, "arcs: no scenes"),
        (None, {"fit": "squeeze"}, "fit 'squeeze': expected one of centre, random, stretch"),
        (None, {"span": 1}, "span 1: expected at least 2"),
        (None, {"span": 3}, "span 3: a sequence takes 4 views"),
        (None, {"held_out": 3}, "3 of 3 scenes held out"),
        (broken(lambda s: s._replace(c2w=s.c2w[:5])), {}, r"scene odd: c2w \(5, 4, 4\).* for 6 images"),
        (broken(lambda s: s._replace(c2w=s.c2w * np.nan)), {}, "scene odd: its cameras hold NaN"),
        (
            broken(lambda s: s._replace(images=[np.zeros((8, 8), np.uint8)] * 6)),
            {},
            r"scene odd, view \d: an image of uint8 \(8, 8\)",
        ),
    ],
)
def test_what_is_refused(
    source: Callable[..., PosedSource], scenes: list[PosedScene] | None, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        opened = PosedSource([], "arcs") if scenes == [] else source(scenes, **settings)
        opened.check(smoke())
        opened.open(smoke(), 0, 0, "cpu").step(0)


def test_a_broken_image_costs_no_step(source: Callable[..., PosedSource], tmp_path: Path) -> None:
    """What was trained until then is written, the error says what it said, and with the image mended all goes on."""
    from reference_model.checkpoint import hash_checkpoint, load_checkpoint
    from reference_model.train import Run, train
    from reference_model.training.schedule import Budget

    def go(out: Path, odd: int | None) -> list[dict[str, object]]:
        """The last scene breaks from so many reads on."""
        scenes, lines = [make_scene(f"s{i}", 6) for i in range(3)], []

        class Breaking(Counted):
            def __getitem__(self, view: int) -> np.ndarray:
                image = super().__getitem__(view)
                return image[0] if odd is not None and self.reads > odd else image

        scenes[2] = scenes[2]._replace(images=Breaking(scenes[2].images.images))  # type: ignore[attr-defined]
        run = Run(out, Budget(steps=8), compiled=False)
        train(posed_preset(), source(scenes, memory=0, threads=1), run, lines.append)
        return lines

    go(tmp_path / "whole", None)
    with pytest.raises(ValueError, match=r"scene s2, view \d: an image of uint8"):
        go(tmp_path / "run", 30)
    steps = load_checkpoint(tmp_path / "run")[2]["steps"]
    assert isinstance(steps, int) and 1 <= steps < 8
    with pytest.raises(ValueError, match="scene s2"):  # at once: what lies there is not written again
        go(tmp_path / "run", 0)
    assert load_checkpoint(tmp_path / "run")[2]["steps"] == steps
    assert {"resumed": steps} in go(tmp_path / "run", None)
    assert hash_checkpoint(tmp_path / "run") == hash_checkpoint(tmp_path / "whole")
    with pytest.raises(ValueError, match="scene s2"):
        go(tmp_path / "first", 0)
    assert list((tmp_path / "first").iterdir()) == []  # nothing had begun


def test_a_posed_run_resumes_exactly(source: Callable[..., PosedSource], tmp_path: Path) -> None:
    """Stopped in the middle and gone on with, by a source that was opened anew."""
    from reference_model.checkpoint import load_checkpoint
    from reference_model.train import Run, train
    from reference_model.training.schedule import Budget

    class StopAfter:
        def __init__(self, looks: int) -> None:
            self.looks = looks

        @property
        def asked(self) -> bool:
            self.looks -= 1
            return self.looks < 0

    def go(out: Path, looks: int = 100) -> bool:
        run = Run(out, Budget(steps=6), compiled=False)
        return train(posed_preset(view_rule="random"), source(held_out=1), run, lambda _: None, StopAfter(looks))  # type: ignore[arg-type]

    assert go(tmp_path / "whole")
    assert not go(tmp_path / "cut", looks=2)
    assert go(tmp_path / "cut")
    (whole, _, card), (cut, _, _) = (load_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert card["training_data"] == ["arcs"] and card["held_out_psnr"]
