"""Held-out worlds to judge a model on: the scenes, the questions about them, and a model's answers as files.

    python benchmarks/zero_shot_worlds.py MODEL --out DIR [--device cuda] [--photographs FILE] [--pack DIR]

Needs reference_model alone, so that the answers can be made on a machine with a GPU and nothing else. What it writes:
`data/worlds/<scene>` (images and transforms.json) and `renders/steps-N/<case>/<view>.png`; with `--pack` both as
`worlds-N.tar`, in parts of at most 15 MiB, for `benchmarks/zero_shot.py --packed`, which has kbench score them. The
PSNR printed here is a first look. The same call goes on where an interrupted one stopped.

Two sets. `world-NN`: worlds as in training, with other seeds, 14 cameras in random order; the last 4 are targets, the
first r references, for every r from 1 to 10. `orbit-NN`: 5 references on one orbit, 72 degrees apart, and 12 targets
that leave it in the ways of `MOVES`, two each.
"""

from __future__ import annotations

import argparse
import json
import math
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from reference_model.held_out import HELD_OUT_SEED, psnr
from reference_model.inference import LoadedModel, load_model, render_views
from reference_model.kernels.rendering import choose_renderer
from reference_model.sampler import Sampling
from reference_model.worlds import draw_batch, to_device
from reference_model.worlds.cameras import Rig, look_at, spherical
from reference_model.worlds.draws import Draw
from reference_model.worlds.export import OPENGL_FROM_OPENCV, write_scene
from reference_model.worlds.photographs import Photographs, load_photographs
from reference_model.worlds.render import Renderer, render_worlds
from reference_model.worlds.scenes import Worlds, draw_worlds

SIZE = 128
WORLD_SEED = 3 * HELD_OUT_SEED  # training draws below 1 x, the quickstart's worlds lie from 2 x on
ORBIT_SEED = 4 * HELD_OUT_SEED
LEAST_CONTRAST = 0.06  # as worlds/export.py: a world with a view that shows next to nothing is passed over
MOST_REFERENCES = 10
TARGETS = 4
STEPS = (1, 2, 4, 8, 25)
MANY_COUNTS = (1, 3, 5)  # of references, under more than one step
ORBIT_REFERENCES = 5
MOVES = ("orbit", "higher", "nearer", "farther", "turned", "free")
"""What the targets of `orbit-NN` do, two each: between two references on their orbit; 30 and 50 degrees above it; at
0.6 and 0.75 of its distance; at 1.4 and 1.8; looking past the middle, rolled by 30 and 45 degrees; all of these at
once, by chance."""
PART_BYTES = 15 * 2**20


class Question(NamedTuple):
    """A case: of one scene, the views shown and the views asked for, by name."""

    id: str
    scene: str
    references: tuple[str, ...]
    targets: tuple[str, ...]


def name_views(first: int, count: int) -> tuple[str, ...]:
    return tuple(f"{view:02d}" for view in range(first, first + count))


def ask_worlds(worlds: int) -> list[Question]:
    """Every number of references from 1 to 10 about the same 4 targets."""
    targets = name_views(MOST_REFERENCES, TARGETS)
    return [
        Question(f"world-{number:02d}-r{count}", f"world-{number:02d}", name_views(0, count), targets)
        for number in range(worlds)
        for count in range(1, MOST_REFERENCES + 1)
    ]


def ask_orbits(orbits: int) -> list[Question]:
    """5 references, 12 targets."""
    shown, asked = name_views(0, ORBIT_REFERENCES), name_views(ORBIT_REFERENCES, 2 * len(MOVES))
    return [Question(f"orbit-{number:02d}-r5", f"orbit-{number:02d}", shown, asked) for number in range(orbits)]


def move_of(view: str) -> str:
    """What a target of an orbit does, from its name."""
    return MOVES[(int(view) - ORBIT_REFERENCES) // 2]


# Scenes


def shuffle_views(rig: Rig, generator: torch.Generator) -> Rig:
    """One world's cameras in random order: some ways of placing them are paths."""
    order = torch.randperm(rig.times.shape[1], generator=generator)
    return Rig(*(field if field.ndim == 1 else field[:, order] for field in rig))


def draw_orbit(generator: torch.Generator) -> Rig:
    """The cameras of one `orbit-NN`. Distances are those of training's orbits: an object of radius .8 fills .4 to .75
    of the frame.
    """
    draw = Draw(generator)
    focal = draw.log_uniform((1,), 0.9, 1.8).item()
    radius = max(focal / draw.uniform((1,), 0.4, 0.75).item(), 1.3)
    start = draw.uniform((1,), -math.pi, math.pi).item()
    low = draw.uniform((1,), 0.15, 0.5).item()
    apart = 2 * math.pi / ORBIT_REFERENCES
    azimuth = start + apart * (torch.arange(ORBIT_REFERENCES + 2 * len(MOVES)) + 0.0)
    azimuth[ORBIT_REFERENCES:] += apart / 2  # targets stand between references
    elevation = torch.full_like(azimuth, low)
    distance = torch.full_like(azimuth, radius)
    aim, roll = torch.zeros(len(azimuth), 3), torch.zeros(len(azimuth))
    at = {move: slice(ORBIT_REFERENCES + 2 * i, ORBIT_REFERENCES + 2 * i + 2) for i, move in enumerate(MOVES)}
    elevation[at["higher"]] += torch.tensor([30.0, 50.0]).deg2rad()
    distance[at["nearer"]] *= torch.tensor([0.75, 0.6])
    distance[at["farther"]] *= torch.tensor([1.4, 1.8])
    aim[at["turned"]] = 0.4 * draw.direction((2,))
    roll[at["turned"]] = torch.tensor([30.0, -45.0]).deg2rad()
    free = at["free"]
    azimuth[free] += draw.uniform((2,), -0.5, 0.5) * apart
    elevation[free] += draw.uniform((2,), -0.1, 0.9)
    distance[free] *= draw.log_uniform((2,), 0.6, 1.8)
    aim[free] = 0.4 * draw.direction((2,))
    roll[free] = draw.uniform((2,), -0.8, 0.8)
    centre = spherical(azimuth, elevation) * distance[:, None]
    floor = min(-draw.uniform((1,), 0.25, 0.9).item(), centre[:, 2].min().item() - 0.15)
    views = (1, len(azimuth))
    return Rig(
        look_at(centre, aim, roll)[None],
        torch.full((*views, 2), focal),
        torch.full((*views, 2), 0.5),
        torch.tensor([floor]),
        torch.zeros(views),
        torch.zeros(1),
    )


class Painting(NamedTuple):
    renderer: Renderer
    photographs: Photographs
    device: str


def paint(worlds: Worlds, rig: Rig, painting: Painting) -> Float[Tensor, "v 3 size size"]:
    there = to_device(worlds, painting.device), to_device(rig, painting.device)
    images = render_worlds(*there, SIZE, photographs=painting.photographs, renderer=painting.renderer)
    return images[0].cpu()


def draw_scene(kind: str, seed: int) -> tuple[Worlds, Rig]:
    generator = torch.Generator().manual_seed(seed)
    if kind == "orbit":
        rig = draw_orbit(generator)
        return draw_worlds(rig, generator), rig
    worlds, rig = draw_batch(1, MOST_REFERENCES + TARGETS, generator)
    return worlds, shuffle_views(rig, generator)


def write_scenes(folder: Path, kind: str, count: int, painting: Painting) -> None:
    """Those of `<kind>-NN` that are not there yet. Which seed each has does not depend on what is there."""
    seed, number = (WORLD_SEED if kind == "world" else ORBIT_SEED), 0
    passed_over = folder / f"{kind}.json"  # number -> seed of what was found worth showing
    seeds: list[int] = json.loads(passed_over.read_text()) if passed_over.is_file() else []
    while number < count:
        target = folder / f"{kind}-{number:02d}"
        if number < len(seeds) and (target / "transforms.json").is_file():
            seed, number = seeds[number] + 1, number + 1
            continue
        worlds, rig = draw_scene(kind, seed)
        images = paint(worlds, rig, painting)
        if images.flatten(1).std(1).min() >= LEAST_CONTRAST:
            write_scene(target, images, rig, SIZE, seed)
            seeds[number:] = [seed]
            passed_over.write_text(json.dumps(seeds))
            number += 1
        seed += 1


class SceneViews(NamedTuple):
    images: Float[Tensor, "v 3 size size"]
    c2w: Float[Tensor, "v 4 4"]
    intrinsics: Float[Tensor, "v 3 3"]


def read_scene(folder: Path) -> SceneViews:
    """What `write_scene` wrote, from 8-bit pixels, as an adapter of the benchmark finds it."""
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    images = [np.asarray(Image.open(folder / frame["file_path"]), np.float32) / 255 for frame in frames]
    c2w = torch.tensor([frame["transform_matrix"] for frame in frames]) @ OPENGL_FROM_OPENCV
    lens = [[[frame["fl_x"], 0, frame["cx"]], [0, frame["fl_y"], frame["cy"]], [0, 0, 1]] for frame in frames]
    return SceneViews(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), c2w, torch.tensor(lens))


# Answers


def answer(loaded: LoadedModel, scene: SceneViews, question: Question, steps: int) -> Float[Tensor, "target 3 h w"]:
    shown, asked = [int(view) for view in question.references], [int(view) for view in question.targets]
    return render_views(
        loaded,
        scene.images[shown],
        scene.c2w[shown],
        scene.intrinsics[shown],
        scene.c2w[asked],
        scene.intrinsics[asked],
        sampling=Sampling(steps=steps),
    )


def list_questions(worlds: int, orbits: int, steps: int) -> list[Question]:
    """All of them for one step; for more, 1, 3 and 5 references and the orbits."""
    counted = [q for q in ask_worlds(worlds) if steps == 1 or len(q.references) in MANY_COUNTS]
    return counted + ask_orbits(orbits)


class Answered(NamedTuple):
    """PSNR in dB of a case's targets, from 8-bit images."""

    question: Question
    steps: int
    psnr: float


def write_answers(
    folder: Path, scenes: Path, loaded: LoadedModel, questions: Sequence[Question], steps: int
) -> Iterator[Answered]:
    """`<case>/<view>.png` for what is not there yet; tells of every case."""
    for question in questions:
        scene, place = read_scene(scenes / question.scene), folder / question.id
        paths = [place / f"{view}.png" for view in question.targets]
        if not all(path.is_file() for path in paths):
            place.mkdir(parents=True, exist_ok=True)
            for path, image in zip(paths, answer(loaded, scene, question, steps), strict=True):
                pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
                half = path.with_suffix(".part")
                Image.fromarray(pixels).save(half, format="PNG")
                half.rename(path)
        made = np.stack([np.asarray(Image.open(path), np.float32) / 255 for path in paths])
        truth = scene.images[[int(view) for view in question.targets]]
        yield Answered(question, steps, psnr(torch.from_numpy(made).permute(0, 3, 1, 2), truth).mean().item())


def claim_renders(folder: Path, loaded: LoadedModel) -> None:
    """Say whose answers lie in a folder. ValueError where they are those of other weights."""
    note = folder / "weights.txt"
    if note.is_file() and note.read_text().strip() != loaded.weights_sha256:
        raise ValueError(f"{folder} holds answers of other weights ({note.read_text()[:12]}...): give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(loaded.weights_sha256 + "\n")


def share_out(paths: Sequence[Path], most: int) -> list[list[Path]]:
    """Files in order, in parts that hold at most so many bytes as a tar archive."""
    parts: list[list[Path]] = []
    room = 0
    for path in paths:
        need = 512 + -(-path.stat().st_size // 512) * 512
        if need > room:
            parts.append([])
            room = most - 10240  # its end, and a whole block
        parts[-1].append(path)
        room -= need
    return parts


def pack_parts(out: Path, folder: Path) -> list[Path]:
    """Scenes and answers as worlds-N.tar, each below PART_BYTES."""
    files = sorted(path for name in ("data/worlds", "renders") for path in (out / name).rglob("*") if path.is_file())
    packed: list[Path] = []
    for number, paths in enumerate(share_out(files, PART_BYTES), start=1):
        packed.append(folder / f"worlds-{number}.tar")
        with tarfile.open(packed[-1], "w", format=tarfile.USTAR_FORMAT) as archive:
            for path in paths:
                archive.add(path, path.relative_to(out).as_posix())
    return packed


def unpack_parts(parts: Sequence[Path], out: Path) -> None:
    """The inverse."""
    for part in parts:
        with tarfile.open(part) as archive:
            archive.extractall(out, filter="data")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Held-out worlds, and a model's answers.")
    parser.add_argument("model", help="weights that ship with the package, or a folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--photographs", type=Path, help="the packed ones, where scikit-image is not installed")
    parser.add_argument("--worlds", type=int, default=24)
    parser.add_argument("--orbits", type=int, default=6)
    parser.add_argument("--steps", default=",".join(map(str, STEPS)), help="empty: the scenes alone")
    parser.add_argument("--pack", type=Path, help="write all of it as worlds-N.tar into this folder")
    options = parser.parse_args(arguments)
    scenes, begun = options.out / "data" / "worlds", time.monotonic()
    photographs = load_photographs(options.photographs)
    photographs = photographs._replace(texels=photographs.texels.to(options.device))
    painting = Painting(choose_renderer(options.device), photographs, options.device)
    scenes.mkdir(parents=True, exist_ok=True)
    write_scenes(scenes, "world", options.worlds, painting)
    write_scenes(scenes, "orbit", options.orbits, painting)
    print(f"scenes: {time.monotonic() - begun:.1f} s", flush=True)
    if not options.steps:
        return
    loaded = load_model(options.model, options.device)
    claim_renders(options.out / "renders", loaded)
    for steps in map(int, options.steps.split(",")):
        found: dict[str, list[float]] = {}
        questions = list_questions(options.worlds, options.orbits, steps)
        for each in write_answers(options.out / "renders" / f"steps-{steps}", scenes, loaded, questions, steps):
            name = f"{each.question.scene.split('-')[0]} {len(each.question.references)}"
            found.setdefault(name, []).append(each.psnr)
        table = {name: round(fmean(values), 2) for name, values in found.items()}
        print(json.dumps({"steps": steps, "seconds": round(time.monotonic() - begun, 1), "psnr": table}), flush=True)
    if options.pack:
        print(", ".join(part.name for part in pack_parts(options.out, options.pack)))


if __name__ == "__main__":
    main()
