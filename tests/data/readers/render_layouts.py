"""One small scene as publishers of rendered objects write it: Blender's, RTMV, OmniObject3D, SRN, NMR."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tests.data.readers.points import TrueView, encode
from tests.data.readers.writing import nerfstudio_frames, write


def write_nerf_synthetic(root: Path, views: list[TrueView]) -> None:
    """bmild/nerf:load_blender.py: f = width / 2 / tan(camera_angle_x / 2)."""
    first = views[0]
    for split, chosen in (("train", [0, 1]), ("val", [2]), ("test", [3])):
        frames = []
        for number, index in enumerate(chosen):
            frame = {"file_path": f"./{split}/r_{number}", "rotation": 0.01}
            frames.append({**frame, "transform_matrix": views[index].blender_c2w.tolist()})
            write(root / "lego" / split / f"r_{number}.png", views[index].png())
        angle = 2 * math.atan(first.width / 2 / first.fx)
        write(root / "lego" / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})
    write(root / "lego" / "test" / "r_0_depth_0000.png", b"a map that no file names")


def write_blender_renders(root: Path, views: list[TrueView], folder: str) -> None:
    """cvlab-columbia/zero123:objaverse-rendering/scripts/blender_script.py: R is the transposed rotation of the Blender
    camera object, T = -R location, 3x4.
    """
    for number, view in enumerate(views):
        rotation, location = view.blender_c2w[:3, :3], view.blender_c2w[:3, 3]
        RT = np.column_stack([rotation.T, -rotation.T @ location])
        write(root / folder / f"{number:03d}.png", view.png())
        np.save(root / folder / f"{number:03d}.npy", RT)


def write_rtmv(root: Path, views: list[TrueView], images: str) -> None:
    """kxhit/EscherNet:eval_eschernet.py transposes cam2world; kwea123/ngp_pl:datasets/rtmv.py turns y and z."""
    for number, view in enumerate(views):
        data = {
            "width": view.width,
            "height": view.height,
            "intrinsics": {"fx": view.fx, "fy": view.fy, "cx": view.cx, "cy": view.cy},
            "cam2world": view.blender_c2w.T.tolist(),
        }
        write(root / "00000" / f"{number:05d}.json", {"camera_data": data, "objects": []})
        write(root / "00000" / images / f"{number:05d}.png", view.png())


def write_omniobject3d(root: Path, views: list[TrueView]) -> None:
    """omniobject3d/OmniObject3D:tools/blender_dataset.py."""
    folder, first = root / "anise" / "anise_001" / "render", views[0]
    names = [f"r_{number}" for number in range(len(views))]
    angle = 2 * math.atan(first.width / 2 / first.fx)
    write(folder / "transforms.json", {"camera_angle_x": angle, "frames": nerfstudio_frames(views, names)})
    for view, name in zip(views, names, strict=True):
        write(folder / "images" / f"{name}.png", view.png())


def write_two_object(root: Path, views: list[TrueView]) -> None:
    """sxyu/pixel-nerf:src/data/MultiObjectDataset.py."""
    first = views[0]
    names = [f"scene_0007/img_{number}.png" for number in range(len(views))]
    angle = 2 * math.atan(first.width / 2 / first.fx)
    document = {"camera_angle_x": angle, "frames": nerfstudio_frames(views, names)}
    write(root / "scene_0007" / "transforms.json", document)
    for number, view in enumerate(views):
        alpha = np.full((*view.image.shape[:2], 1), 255, np.uint8)
        write(root / "scene_0007" / f"img_{number}_obj.png", encode(np.concatenate([view.image, alpha], axis=2), "PNG"))


def write_srn(root: Path, views: list[TrueView]) -> None:
    """vsitzmann/scene-representation-networks:util.py, with the lens of a file four times the images' size."""
    folder, first = root / "1a1dcd236a1e6133", views[0]
    size = 4 * first.width
    lens = f"{4 * first.fx:f} {4 * first.cx:f} {4 * first.cy:f} 0.\n0. 0. 0.\n1.\n{size} {size}\n"
    write(folder / "intrinsics.txt", lens)
    for number, view in enumerate(views):
        write(folder / "rgb" / f"{number:06d}.png", view.png())
        write(folder / "pose" / f"{number:06d}.txt", " ".join(map(repr, map(float, view.c2w.flatten()))))


def write_nmr(root: Path, views: list[TrueView], *, inverse: bool = True) -> None:
    """sxyu/pixel-nerf:src/data/DVRDataset.py, sub_format shapenet."""
    folder, arrays = root / "03691459" / "101354f9d8dede686f7b08d9de913afe", {}
    for number, view in enumerate(views):
        lens = np.diag([view.fx * 2 / view.width, view.fy * 2 / view.height, 1.0, 1.0])
        arrays[f"camera_mat_{number}"] = lens
        arrays[f"world_mat_{number}"] = view.w2c if inverse else view.w2c[:3]
        if inverse:
            arrays[f"world_mat_inv_{number}"] = view.c2w
        write(folder / "image" / f"{number:04d}.png", view.png())
    np.savez(folder / "cameras.npz", **arrays)
