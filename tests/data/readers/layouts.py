"""Writers of one small scene in every published layout, and what reading it back must give.

Each writer puts the views of tests.data.readers.points on disk by the definitions of the layout's publisher, which its
docstring cites; none uses a reader, a converter of kaleido_bench.data.cameras, or its inverse. What the reader says
must put every point on its dot.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.data.readers.points import COUNT, TrueView, encode, make_views, reduce


class Layout(NamedTuple):
    """A reader's name, how its scene is written, what it is called, which ids its views have in the truth's order, and
    how the world on disk relates to the truth: x_disk = scale * (x - shift).
    """

    reader: str
    write: Callable[[Path, list[TrueView]], None]
    scene: str
    ids: tuple[str, ...]
    views: Callable[[], list[TrueView]]
    scale: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    image_scale: float = 1.0  # width on disk over the width of the truth


def write(path: Path, content: bytes | str | dict[str, Any] | list[Any]) -> None:
    """Bytes, text or JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def positions(count: int = COUNT) -> tuple[str, ...]:
    """Ids that are positions."""
    return tuple(map(str, range(count)))


def stems(digits: int) -> tuple[str, ...]:
    """Ids that are numbers with leading zeros."""
    return tuple(f"{number:0{digits}d}" for number in range(COUNT))


# -------------------------------------------------------------------------------------------------- writers


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


def nerfstudio_frames(views: list[TrueView], paths: list[str]) -> list[dict[str, Any]]:
    """https://docs.nerf.studio/quickstart/data_conventions.html: camera to world, OpenGL axes."""
    return [
        {"file_path": path, "transform_matrix": view.blender_c2w.tolist()}
        for view, path in zip(views, paths, strict=True)
    ]


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


def write_co3d(root: Path, views: list[TrueView], intrinsics_format: str | None) -> None:
    """facebookresearch/co3d:co3d/dataset/data_types.py. PyTorch3D: rows times R plus T, x left, y up; NDC with +x left
    and +y up, so u_ndc = focal * X / Z + principal falls on pixel x = width / 2 - unit * u_ndc.
    """
    frames = []
    for number, view in enumerate(views):
        name = f"images/frame{7 + 3 * number:06d}.jpg"  # the number in the name is not the frame's
        to_pytorch3d = np.diag([-1.0, -1.0, 1.0])  # x and y of the camera turned around
        halves = np.array([view.width, view.height]) / 2
        unit = halves if intrinsics_format != "ndc_isotropic" else np.full(2, halves.min())
        viewpoint = {
            "R": (to_pytorch3d @ view.R).T.tolist(),
            "T": (to_pytorch3d @ view.t).tolist(),
            "focal_length": (np.array([view.fx, view.fy]) / unit).tolist(),
            "principal_point": ((halves - [view.cx, view.cy]) / unit).tolist(),
        }
        if intrinsics_format is not None:
            viewpoint["intrinsics_format"] = intrinsics_format
        sequence = "hydrant/417_57776_111531"
        frames.append(
            {
                "sequence_name": "417_57776_111531",
                "frame_number": number,
                "frame_timestamp": number / 10,
                "image": {"path": f"{sequence}/{name}", "size": [view.height, view.width]},
                "depth": None,
                "mask": {"path": f"{sequence}/masks/frame{number:06d}.png", "mass": 1.0},
                "viewpoint": viewpoint,
            }
        )
        write(root / sequence / name, encode(view.image, "JPEG"))
        mask = (view.image.max(axis=2) > 100).astype(np.uint8) * 255
        write(root / sequence / f"masks/frame{number:06d}.png", encode(mask, "PNG"))
    other = {**frames[0], "sequence_name": "1_2_3", "frame_number": 5}
    write_jgz(root / "hydrant" / "frame_annotations.jgz", [other, *reversed(frames)])
    names = [{"sequence_name": name, "category": "hydrant"} for name in ("417_57776_111531", "1_2_3")]
    write_jgz(root / "hydrant" / "sequence_annotations.jgz", names)


def write_jgz(path: Path, rows: list[Any]) -> None:
    """Gzipped JSON."""
    write(path, gzip.compress(json.dumps(rows).encode()))


def write_wildrgbd(root: Path, views: list[TrueView]) -> None:
    """wildrgbd/wildrgbd:README.md; K by columns, as wildrgbd_generate_point_cloud.py reads it."""
    folder, first = root / "ball" / "scenes" / "scene_563", views[0]
    K = [first.fx, 0.0, 0.0, 0.0, first.fy, 0.0, first.cx, first.cy, 1.0]
    write(folder / "metadata", {"w": first.width, "h": first.height, "fps": 30, "K": K})
    lines = [" ".join(map(str, [number, *view.c2w.flatten()])) for number, view in enumerate(views)]
    write(folder / "cam_poses.txt", "\n".join(lines) + "\n")
    for number, view in enumerate(views):
        write(folder / "rgb" / f"{number:05d}.png", view.png())
        mask = (view.image.max(axis=2) > 100).astype(np.uint8) * 255
        write(folder / "masks" / f"{number:05d}.png", encode(mask, "PNG"))


# IDR moves the object into the unit sphere: x = scale_mat x', so x' = (x - shift) / scale.
DTU_SCALE, DTU_SHIFT = 1.7, (0.2, -0.1, 0.3)


def _scale_mat() -> np.ndarray:
    matrix = np.diag([DTU_SCALE, DTU_SCALE, DTU_SCALE, 1.0])
    matrix[:3, 3] = DTU_SHIFT
    return matrix


def write_dtu_idr(root: Path, views: list[TrueView]) -> None:
    """lioryariv/idr:DATA_CONVENTION.md, with its rays through uv = 0, 1, 2, ... (code/datasets/scene_dataset.py): the
    first pixel's centre is (0, 0), so principal points are half a pixel less than measured from the corner.
    """
    arrays = {}
    for number, view in enumerate(views):
        K = np.array([[view.fx, 0, view.cx - 0.5], [0, view.fy, view.cy - 0.5], [0, 0, 1]])
        P = np.eye(4)
        P[:3] = (-3.0 if number == 1 else 1.0) * K @ view.w2c[:3]  # a projection matrix has no scale and no sign
        arrays[f"world_mat_{number}"] = P
        arrays[f"scale_mat_{number}"] = _scale_mat()
        write(root / "scan24" / "image" / f"{number:06d}.png", view.png())
        mask = (view.image.max(axis=2) > 100).astype(np.uint8) * 255
        write(root / "scan24" / "mask" / f"{number:03d}.png", encode(mask, "PNG"))
    np.savez(root / "scan24" / "cameras_sphere.npz", **arrays)


def write_dtu_pixelnerf(root: Path, views: list[TrueView]) -> None:
    """sxyu/pixel-nerf:src/data/DVRDataset.py, sub_format dtu: P maps to [-1, 1] on both axes of the image."""
    arrays = {}
    for number, view in enumerate(views):
        x, y = 2 / view.width, 2 / view.height
        K = np.array([[view.fx * x, 0, view.cx * x - 1], [0, view.fy * y, view.cy * y - 1], [0, 0, 1]])
        P = np.eye(4)
        P[:3] = 411.0 * K @ view.w2c[:3]
        arrays[f"world_mat_{number}"] = P
        arrays[f"scale_mat_{number}"] = _scale_mat()
        write(root / "scan8" / "image" / f"{number:06d}.png", view.png())
    np.savez(root / "scan8" / "cameras.npz", **arrays)


def mvsnet_views() -> list[TrueView]:
    """At MVSNet's size."""
    return make_views(640, 512, 540.0, square_pixels=False)


def write_dtu_mvsnet(root: Path, views: list[TrueView]) -> None:
    """YoYo000/MVSNet: calibrated at 1600 x 1200 with the first pixel's centre at (0, 0); K scaled by 1/2, cropped by 80
    and 44, scaled by 1/4, each time as if pixels were points.
    """
    for number, view in enumerate(views):
        # The photograph that gives this image when 2 x 2 pixels become one and the crop is cut out, corners at (0, 0).
        corner = np.array([2 * (view.cx + 80), 2 * (view.cy + 44)])
        cx, cy = (corner - 0.5) / 2 - [80, 44]
        w2c = view.w2c.copy()
        w2c[:3, 3] *= 200  # the truth is in units of 200 mm
        text = "extrinsic\n" + "\n".join(" ".join(map(repr, map(float, row))) for row in w2c)
        lens = [[view.fx / 4, 0.0, cx / 4], [0.0, view.fy / 4, cy / 4], [0.0, 0.0, 1.0]]
        text += "\n\nintrinsic\n" + "\n".join(" ".join(map(repr, map(float, row))) for row in lens) + "\n\n425.0 2.5\n"
        write(root / "Cameras" / "train" / f"{number:08d}_cam.txt", text)
        folder = root / "Rectified" / "scan1_train"
        write(folder / f"rect_{number + 1:03d}_3_r5000.png", view.png())
        write(folder / f"rect_{number + 1:03d}_4_r5000.png", b"another light")


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


def blender_35mm_views() -> list[TrueView]:
    """Blender: 35 mm on a sensor of 32 mm, square, principal point in the middle."""
    return make_views(96, 96, 35 / 32 * 96, centred=True)


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


# -------------------------------------------------------------------------------------------------- the table


def photograph_views() -> list[TrueView]:
    """Large enough to be reduced by eight and still show dots."""
    return make_views(768, 576, 640.0, square_pixels=False)


def llff_views() -> list[TrueView]:
    """One focal length, principal point in the middle."""
    return make_views(768, 576, 640.0, centred=True)


def blender_views() -> list[TrueView]:
    """One focal length, principal point in the middle."""
    return make_views(96, 96, 100.0, centred=True)


def _dl3dv(factor: int | None, folder: str) -> Callable[[Path, list[TrueView]], None]:
    return lambda root, views: write_dl3dv(root, views, factor, folder)


_HASH = "032dee9fb0a8bc1b90871dc5fe950080d0bcd3caf166447f44e60ca50ac04ec7"
_DTU = {"scale": 1 / DTU_SCALE, "shift": DTU_SHIFT}

LAYOUTS: tuple[Layout, ...] = (
    Layout("re10k", write_re10k, "5aca87f95a9412c6", positions(), lambda: make_views(square_pixels=False)),
    Layout("re10k-raw", write_re10k_raw, "5aca87f95a9412c6", positions(), lambda: make_views(square_pixels=False)),
    Layout("re10k-lvsm", write_re10k_lvsm, "5aca87f95a9412c6", positions(), lambda: make_views(square_pixels=False)),
    Layout("dl3dv", _dl3dv(None, f"{_HASH}/nerfstudio"), _HASH, positions(), lambda: make_views(square_pixels=False)),
    Layout("dl3dv-4", _dl3dv(4, f"1K/{_HASH}"), _HASH, positions(), photograph_views, image_scale=1 / 4),
    Layout("dl3dv-8", _dl3dv(8, f"{_HASH}/nerfstudio"), _HASH, positions(), photograph_views, image_scale=1 / 8),
    Layout("long-lrm", write_long_lrm, "032dee9f", positions(), lambda: make_views(square_pixels=False)),
    *(
        Layout(
            "co3d",
            lambda root, views, kind=kind: write_co3d(root, views, kind),
            "hydrant/417_57776_111531",
            positions(),
            lambda: make_views(square_pixels=False),
        )
        for kind in ("ndc_isotropic", "ndc_norm_image_bounds", None)
    ),
    Layout("wildrgbd", write_wildrgbd, "ball/563", stems(5), lambda: make_views(square_pixels=False)),
    Layout("dtu-idr", write_dtu_idr, "scan24", stems(6), lambda: make_views(square_pixels=False), **_DTU),
    Layout("dtu-pixelnerf", write_dtu_pixelnerf, "scan8", stems(6), lambda: make_views(square_pixels=False), **_DTU),
    Layout("dtu-mvsnet", write_dtu_mvsnet, "scan1", stems(6), mvsnet_views),
    *(
        Layout(
            f"llff-{factor}" if factor else "llff",
            lambda root, views, factor=factor: write_llff(root, views, factor),
            "fern",
            tuple(f"image{number:03d}" for number in range(COUNT)),
            llff_views,
            image_scale=1 / (factor or 1),
        )
        for factor in (None, 4, 8)
    ),
    *(
        Layout(
            f"colmap-{factor}" if factor else "colmap",
            lambda root, views, factor=factor: write_colmap(root, views, factor),
            "garden",
            tuple(f"_DSC{8679 + number}" for number in range(COUNT)),
            photograph_views,
            image_scale=1 / (factor or 1),
        )
        for factor in (None, 2, 4, 8)
    ),
    Layout(  # Tanks and Temples: the images are half of what the model says
        "colmap",
        lambda root, views: write_colmap(root, views, 2, "truck", "images"),
        "truck",
        tuple(f"_DSC{8679 + number}" for number in range(COUNT)),
        photograph_views,
        image_scale=1 / 2,
    ),
    *(
        Layout(
            "mipnerf360",
            lambda root, views, scene=scene, factor=factor: write_colmap(root, views, factor, scene),
            scene,
            tuple(f"_DSC{8679 + number}" for number in range(COUNT)),
            photograph_views,
            image_scale=1 / factor,
        )
        for scene, factor in (("garden", 4), ("room", 2))
    ),
    Layout(
        "nerf-synthetic", write_nerf_synthetic, "lego", ("train/r_0", "train/r_1", "val/r_0", "test/r_0"), blender_views
    ),
    Layout(
        "gso-eschernet",
        lambda root, views: write_blender_renders(root, views, "elephant/render_mvs_25/model"),
        "elephant",
        stems(3),
        blender_35mm_views,
    ),
    Layout(
        "objaverse",
        lambda root, views: write_blender_renders(root, views, "0a01f314e2864711aa7e33bace4bd8c8"),
        "0a01f314e2864711aa7e33bace4bd8c8",
        stems(3),
        blender_35mm_views,
    ),
    *(
        Layout(
            "rtmv",
            lambda root, views, images=images: write_rtmv(root, views, images),
            "00000",
            stems(5),
            lambda: make_views(square_pixels=False),
        )
        for images in (".", "images")
    ),
    Layout("omniobject3d", write_omniobject3d, "anise/anise_001", tuple(f"r_{n}" for n in range(COUNT)), blender_views),
    Layout("two-object", write_two_object, "scene_0007", tuple(f"img_{n}" for n in range(COUNT)), blender_views),
    Layout("srn", write_srn, "1a1dcd236a1e6133", stems(6), blender_views),
    *(
        Layout(
            "nmr",
            lambda root, views, inverse=inverse: write_nmr(root, views, inverse=inverse),
            "03691459/101354f9d8dede686f7b08d9de913afe",
            stems(4),
            blender_views,
        )
        for inverse in (True, False)
    ),
    Layout("seva", write_seva, "wildgbd/easy/ball_563", ("0", "1", "3", "4"), lambda: make_views(square_pixels=False)),
)
"""Every layout of the registry, some in two variants. `transforms` and `parquet` have tests of their own."""
