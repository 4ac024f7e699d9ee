"""One small scene as publishers of filmed scenes write it: RealEstate10K, DL3DV, LLFF, COLMAP, SEVA's archive."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.readers.points import TrueView, encode, reduce
from tests.data.readers.writing import nerfstudio_frames, write


def re10k_entry(view: TrueView) -> list[float]:
    """RealEstate10K's camera: focal lengths and principal point over width and height, two zeros, the 3x4 pose by rows
    (https://google.github.io/realestate10k/download.html).
    """
    lens = [view.fx / view.width, view.fy / view.height, view.cx / view.width, view.cy / view.height, 0.0, 0.0]
    return lens + view.w2c[:3].flatten().tolist()


def write_re10k(root: Path, views: list[TrueView]) -> None:
    """dcharatan/real_estate_10k_tools:src/convert.py."""
    import torch

    def example(key: str, chosen: list[TrueView]) -> dict[str, Any]:
        images = [torch.tensor(np.frombuffer(encode(view.image, "JPEG"), np.uint8).copy()) for view in chosen]
        return {
            "url": "https://www.youtube.com/watch?v=none",
            "timestamps": torch.arange(len(chosen), dtype=torch.int64) * 33367,
            "cameras": torch.tensor([re10k_entry(view) for view in chosen], dtype=torch.float32),
            "images": images,
            "key": key,
        }

    root.mkdir(parents=True, exist_ok=True)
    torch.save([example("0aa1", views[:1]), example("5aca87f95a9412c6", views)], root / "000000.torch")
    torch.save([example("1bb2", views[:2])], root / "000001.torch")
    index = {"0aa1": "000000.torch", "5aca87f95a9412c6": "000000.torch", "1bb2": "000001.torch"}
    write(root / "index.json", index)


def write_re10k_raw(root: Path, views: list[TrueView]) -> None:
    """The text file of the data set, and frames as yilundu/cross_attention_renderer:data_download extracts them."""
    lines = ["https://www.youtube.com/watch?v=none"]
    for number, view in enumerate(views):
        stamp = 9_000_000 + 33_367 * number * (10 if number > 2 else 1)  # of another length from the third on
        numbers = [f"{value:.9f}" for value in re10k_entry(view)]
        lines.append(" ".join([str(stamp), *numbers]))
        write(root / "5aca87f95a9412c6" / f"{stamp}.png", view.png())
    write(root / "5aca87f95a9412c6.txt", "\n".join(lines) + "\n")


def write_re10k_lvsm(root: Path, views: list[TrueView]) -> None:
    """Haian-Jin/LVSM:process_data.py."""
    frames = []
    for number, view in enumerate(views):
        write(root / "images" / "5aca87f95a9412c6" / f"{number:05d}.png", view.png())
        lens = [view.fx, view.fy, view.cx, view.cy]
        path = f"/home/somebody/re10k/test/images/5aca87f95a9412c6/{number:05d}.png"
        frames.append({"image_path": path, "fxfycxcy": lens, "w2c": view.w2c.tolist()})
    metadata = {"scene_name": "5aca87f95a9412c6", "frames": frames}
    write(root / "metadata" / "5aca87f95a9412c6.json", metadata)


def write_dl3dv(root: Path, views: list[TrueView], factor: int | None, folder: str) -> None:
    """DL3DV-10K/Dataset; frames in another order than names, as cvg/depthsplat's convert_dl3dv_test.py allows."""
    first = views[0]
    names = ["images/frame_00007.png", "images/frame_00003.png", "images/frame_00012.png", "images/frame_00001.png"]
    document = {
        "w": first.width,
        "h": first.height,
        "fl_x": first.fx,
        "fl_y": first.fy,
        "cx": first.cx,
        "cy": first.cy,
        "k1": -0.01,
        "k2": 0.002,
        "p1": 1e-5,
        "p2": 2e-5,
        "camera_model": "OPENCV",
        "applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]],
        "frames": nerfstudio_frames(views, names),
    }
    write(root / folder / "transforms.json", document)
    for view, name in zip(views, names, strict=True):
        image = view.image if factor is None else reduce(view.image, factor)
        place = name if factor is None else name.replace("images/", f"images_{factor}/")
        write(root / folder / place, encode(image, "PNG"))


def write_long_lrm(root: Path, views: list[TrueView]) -> None:
    """arthurhero/Long-LRM:data/prosess_dl3dv.py, without its swap of world axes."""
    frames = []
    for number, view in enumerate(views):
        path = f"images_undistort/frame_{number + 1:05d}.png"
        lens = {"h": view.height, "w": view.width, "fx": view.fx, "fy": view.fy, "cx": view.cx, "cy": view.cy}
        frames.append({"file_path": path, "w2c": view.w2c.tolist(), **lens})
        write(root / "032dee9f" / path, view.png())
    write(root / "032dee9f" / "opencv_cameras.json", {"scene_name": "032dee9f", "frames": frames})


def write_llff(root: Path, views: list[TrueView], factor: int | None) -> None:
    """Fyusion/LLFF: rows of a 3x5 matrix and two bounds; the columns are down, right, backward, centre,
    height-width-focal. The principal point is the centre.
    """
    rows = []
    for number, view in enumerate(views):
        right, down, forward = view.R
        centre = -view.R.T @ view.t
        pose = np.column_stack([down, right, -forward, centre, [view.height, view.width, view.fx]])
        rows.append([*pose.flatten(), 0.5, 5.0])
        image = view.image if factor is None else reduce(view.image, factor)
        folder = "images" if factor is None else f"images_{factor}"
        write(root / "fern" / folder / f"image{number:03d}.png", encode(image, "PNG"))
    np.save(root / "fern" / "poses_bounds.npy", np.array(rows))


def write_colmap(
    root: Path, views: list[TrueView], factor: int | None, scene: str = "garden", images_folder: str | None = None
) -> None:
    """https://colmap.github.io/format.html, binary: world to camera as a quaternion (w, x, y, z) and a translation; the
    image's corner is (0, 0).
    """
    cameras, images = struct.pack("<Q", 1), struct.pack("<Q", len(views))
    first = views[0]
    cameras += struct.pack("<iiQQ4d", 1, 1, first.width, first.height, first.fx, first.fy, first.cx, first.cy)
    for number, view in enumerate(views):
        name = f"_DSC{8679 + number}.JPG"
        images += struct.pack("<i4d3di", number + 1, *quaternion(view.R), *view.t, 1) + name.encode() + b"\0"
        images += struct.pack("<Q", 0)
        image = view.image if factor is None else reduce(view.image, factor)
        folder = images_folder or ("images" if factor is None else f"images_{factor}")
        write(root / scene / folder / name, encode(image, "JPEG"))
    write(root / scene / "sparse" / "0" / "cameras.bin", cameras)
    write(root / scene / "sparse" / "0" / "images.bin", images)
    write(root / scene / "sparse" / "0" / "points3D.bin", struct.pack("<Q", 0))


def quaternion(R: np.ndarray) -> np.ndarray:
    """(w, x, y, z): the eigenvector of Bar-Itzhack's symmetric matrix of its largest eigenvalue."""
    k = np.empty((4, 4))
    k[0, 0] = np.trace(R)
    k[0, 1:] = k[1:, 0] = [R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]
    k[1:, 1:] = R + R.T - np.trace(R) * np.eye(3)
    return np.linalg.eigh(k)[1][:, -1]


def write_seva(root: Path, views: list[TrueView]) -> None:
    """Stability-AI/stable-virtual-camera:seva/data_io.py: frame 2 has no image, and the world was transformed by
    `applied_transform` after the cameras were made.
    """
    applied = np.eye(4)
    applied[:3] = [[0, 1, 0, 0.4], [1, 0, 0, 0.1], [0, 0, -1, -0.2]]
    frames: list[dict[str, Any]] = []
    for number, view in enumerate(views):
        if number == 2:
            frames.append({"file_path": None, "transform_matrix": np.eye(4).tolist()})
        frame: dict[str, Any] = {"fl_x": view.fx, "fl_y": view.fy, "cx": view.cx, "cy": view.cy}
        frame |= {"w": view.width, "h": view.height, "file_path": f"./images/{number:04d}.png"}
        frames.append({**frame, "transform_matrix": (applied @ view.blender_c2w).tolist()})
        write(root / "wildgbd" / "easy" / "ball_563" / "images" / f"{number:04d}.png", view.png())
    for frame in frames:
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            frame.setdefault(key, frames[0][key])
    document = {"orientation_override": "none", "applied_transform": applied[:3].tolist(), "frames": frames}
    write(root / "wildgbd" / "easy" / "ball_563" / "transforms.json", document)
