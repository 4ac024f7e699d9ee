"""Textured meshes of scanned objects as posed views: the data set that `zero_shot.py` makes of YCB's models.

    python benchmarks/scanned_meshes.py MESHES_DIR OUT_DIR [--size 256]

A z-buffer in numpy: perspective-correct texture coordinates, 2 x 2 samples a pixel, alpha by coverage, and a little
light from above so that shape shows (`AMBIENT`). Stored colours are taken as they are. Each object is moved to its
bounding box's middle and scaled so that the box's longest side is `LONGEST`, about half of the frame, as Zero123's
renders of scanned objects have it (cvlab-columbia/zero123:objaverse-rendering/scripts/blender_script.py: a unit box
from 1.5 to 2.2 at 49 degrees); the camera is that of the one Google Scanned Object among the real scenes (focal length
1.0723 image widths, distance 2.7, elevations from 0 to 60 degrees), on a spiral.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from kaleido_bench.data.cameras import Camera, c2w_to_opengl, intrinsics_matrix
from kaleido_bench.splits import choose_spread, describe_poses, order_references

FOCAL, DISTANCE, LONGEST = 1.0723, 2.7, 1.3
PLACES, TARGETS, REFERENCES = 64, 4, 5
GOLDEN = math.pi * (3 - math.sqrt(5))
AMBIENT, LIGHT = 0.7, np.array([0.3, -0.4, 0.87]) / np.linalg.norm([0.3, -0.4, 0.87])
SAMPLES = 2


class Mesh(NamedTuple):
    """z is up. `corners` and `uvs` index points and coordinates of each triangle; v of `texture` points up."""

    points: Float64[np.ndarray, "point 3"]
    coordinates: Float64[np.ndarray, "uv 2"]
    corners: Int64[np.ndarray, "triangle 3"]
    uvs: Int64[np.ndarray, "triangle 3"]
    texture: Float64[np.ndarray, "h w 3"]  # in [0, 1]


def load_mesh(folder: Path) -> Mesh:
    """`model.obj` of triangles with texture coordinates, and `texture.jpg`, halved: renders are smaller than it.

    Raises ValueError for faces that are no triangles with texture coordinates.
    """
    points: list[list[float]] = []
    coordinates: list[list[float]] = []
    faces: list[list[list[int]]] = []
    for number, line in enumerate((folder / "model.obj").read_text().splitlines(), start=1):
        words = line.split()
        if words[:1] == ["v"]:
            points.append([float(word) for word in words[1:4]])
        elif words[:1] == ["vt"]:
            coordinates.append([float(word) for word in words[1:3]])
        elif words[:1] == ["f"]:
            face = [[int(part) for part in word.split("/")[:2] if part] for word in words[1:]]
            if len(face) != 3 or any(len(corner) != 2 or min(corner) < 1 for corner in face):
                raise ValueError(f"{folder}/model.obj:{number}: {line!r}: expected a triangle v/vt v/vt v/vt")
            faces.append(face)
    index = np.array(faces, np.int64) - 1
    with Image.open(folder / "texture.jpg") as image:
        half = image.convert("RGB").resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    texture = np.asarray(half, np.float64) / 255
    return Mesh(np.array(points), np.array(coordinates), index[..., 0], index[..., 1], texture)


def centre_mesh(mesh: Mesh) -> Mesh:
    low, high = mesh.points.min(0), mesh.points.max(0)
    return mesh._replace(points=(mesh.points - (low + high) / 2) * (LONGEST / float((high - low).max())))


def place_cameras(start: float, size: int) -> list[Camera]:
    """`PLACES` of them on a spiral, from the horizon to 60 degrees, evenly over that zone, looking at the middle."""
    cameras: list[Camera] = []
    for place in range(PLACES):
        height = math.sin(math.radians(60)) * (place + 0.5) / PLACES
        azimuth, flat = start + GOLDEN * place, math.sqrt(1 - height**2)
        outwards = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), height])
        right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        c2w = np.eye(4)
        c2w[:3, :3] = np.stack([right, np.cross(-outwards, right), -outwards], 1)
        c2w[:3, 3] = DISTANCE * outwards
        cameras.append(Camera(c2w, intrinsics_matrix(FOCAL * size, FOCAL * size, size / 2, size / 2), size, size))
    return cameras


class Chosen(NamedTuple):
    """Places of the spiral. A prefix of the references is the choice of fewer."""

    references: list[int]
    targets: list[int]


def choose_places(cameras: Sequence[Camera]) -> Chosen:
    """Targets evenly spread, references by farthest-point sampling of poses: the rule of the shipped protocols."""
    targets = choose_spread(len(cameras), TARGETS)
    rest = [place for place in range(len(cameras)) if place not in targets]
    return Chosen(order_references(describe_poses(cameras), rest, targets, REFERENCES), targets)


class Fragments(NamedTuple):
    """What the nearest triangle shows at each sample that one covers."""

    sample: Int64[np.ndarray, " fragment"]  # row by row
    triangle: Int64[np.ndarray, " fragment"]
    weights: Float64[np.ndarray, "fragment 3"]  # of its corners, perspective-correct


def rasterise(corners: Float64[np.ndarray, "triangle 3 3"], camera: Camera, side: int) -> Fragments:
    """Triangles in camera coordinates, all in front of the camera, on side x side samples."""
    focal = camera.K[[0, 1], [0, 1]] * side / camera.width
    middle = camera.K[:2, 2] * side / camera.width
    depth = corners[..., 2]
    flat = corners[..., :2] / depth[..., None] * focal + middle
    low = np.ceil(flat.min(1) - 0.5).astype(np.int64).clip(0, side)
    high = np.floor(flat.max(1) - 0.5).astype(np.int64).clip(-1, side - 1)
    extent = (high - low + 1).clip(min=0)
    count = extent.prod(1)
    triangle = np.repeat(np.arange(len(flat)), count)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    wide = extent[triangle, 0]
    x, y = low[triangle, 0] + place % wide, low[triangle, 1] + place // wide
    point = np.stack([x, y], 1) + 0.5
    a, b, c = (flat[triangle, corner] for corner in range(3))
    area = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.stack([_cross(c - b, point - b), _cross(a - c, point - c), _cross(b - a, point - a)], 1)
        weights = weights / area[:, None]
    inside = (weights >= 0).all(1) & np.isfinite(weights).all(1)
    triangle, weights, sample = triangle[inside], weights[inside], (y * side + x)[inside]
    closeness = (weights / depth[triangle]).sum(1)
    order = np.lexsort((-closeness, sample))
    first = order[np.unique(sample[order], return_index=True)[1]]
    correct = weights[first] / depth[triangle[first]] / closeness[first, None]
    return Fragments(sample[first], triangle[first], correct)


def _cross(a: Float64[np.ndarray, "n 2"], b: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, " n"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def look_up(texture: Float64[np.ndarray, "h w 3"], uv: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 3"]:
    """Bilinear, the border repeated."""
    height, width = texture.shape[:2]
    x = (uv[:, 0] * width - 0.5).clip(0, width - 1)
    y = ((1 - uv[:, 1]) * height - 0.5).clip(0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    s, t = (x - left)[:, None], (y - top)[:, None]
    upper = texture[top, left] * (1 - s) + texture[top, right] * s
    return upper * (1 - t) + (texture[bottom, left] * (1 - s) + texture[bottom, right] * s) * t


def render_mesh(mesh: Mesh, camera: Camera) -> UInt8[np.ndarray, "height width 4"]:
    """RGBA, not premultiplied. The image is square."""
    side = camera.width * SAMPLES
    seen = (mesh.points - camera.c2w[:3, 3]) @ camera.c2w[:3, :3]
    found = rasterise(seen[mesh.corners], camera, side)
    uv = (mesh.coordinates[mesh.uvs[found.triangle]] * found.weights[..., None]).sum(1)
    a, b, c = (mesh.points[mesh.corners[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(min=1e-12)
    light = AMBIENT + (1 - AMBIENT) * (normal @ LIGHT).clip(min=0)
    samples = np.zeros((side * side, 4))
    samples[found.sample, :3] = look_up(mesh.texture, uv) * light[found.triangle, None]
    samples[found.sample, 3] = 1
    pixels = samples.reshape(camera.width, SAMPLES, camera.width, SAMPLES, 4).mean((1, 3))
    pixels[..., :3] /= pixels[..., 3:].clip(min=1e-6)
    return (pixels * 255).round().clip(0, 255).astype(np.uint8)


def write_object(folder: Path, mesh: Mesh, start: float, size: int) -> None:
    """One scene: the references in their order, then the targets, and `transforms.json` last."""
    cameras = place_cameras(start, size)
    chosen = choose_places(cameras)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"reference_{i}" for i in range(REFERENCES)] + [f"target_{i}" for i in range(TARGETS)]
    frames: list[dict[str, object]] = []
    for name, place in zip(names, (*chosen.references, *chosen.targets), strict=True):
        camera = cameras[place]
        Image.fromarray(render_mesh(mesh, camera)).save(folder / "images" / f"{name}.png")
        lens = {"fl_x": camera.K[0, 0], "fl_y": camera.K[1, 1], "cx": camera.K[0, 2], "cy": camera.K[1, 2]}
        matrix = c2w_to_opengl(camera.c2w).tolist()
        frames.append({
            "file_path": f"images/{name}.png", **lens, "w": size, "h": size, "transform_matrix": matrix
        })  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "PINHOLE", "frames": frames}, indent=1) + "\n")


def write_objects(meshes: Path, out: Path, size: int = 256) -> list[str]:
    """Every model below `meshes` that is not there yet; gives the names of all."""
    names = sorted(path.parent.name for path in meshes.glob("*/model.obj"))
    for number, name in enumerate(names):
        if not (out / name / "transforms.json").is_file():
            write_object(out / name, centre_mesh(load_mesh(meshes / name)), GOLDEN * number, size)
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Scanned meshes as posed views.")
    parser.add_argument("meshes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args(arguments)
    print(", ".join(write_objects(options.meshes, options.out, options.size)))


if __name__ == "__main__":
    main()
