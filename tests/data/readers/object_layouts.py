"""One small scene as publishers of filmed objects write it: CO3D, WildRGB-D, DTU in three forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.readers.points import TrueView, encode
from tests.data.readers.writing import write, write_jgz


def mask_png(view: TrueView) -> bytes:
    """Where the image is bright."""
    return encode((view.image.max(axis=2) > 100).astype(np.uint8) * 255, "PNG")


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
        write(root / sequence / f"masks/frame{number:06d}.png", mask_png(view))
    other = {**frames[0], "sequence_name": "1_2_3", "frame_number": 5}
    write_jgz(root / "hydrant" / "frame_annotations.jgz", [other, *reversed(frames)])
    names = [{"sequence_name": name, "category": "hydrant"} for name in ("417_57776_111531", "1_2_3")]
    write_jgz(root / "hydrant" / "sequence_annotations.jgz", names)


def write_wildrgbd(root: Path, views: list[TrueView]) -> None:
    """wildrgbd/wildrgbd:README.md; K by columns, as wildrgbd_generate_point_cloud.py reads it."""
    folder, first = root / "ball" / "scenes" / "scene_563", views[0]
    K = [first.fx, 0.0, 0.0, 0.0, first.fy, 0.0, first.cx, first.cy, 1.0]
    write(folder / "metadata", {"w": first.width, "h": first.height, "fps": 30, "K": K})
    lines = [" ".join(map(str, [number, *view.c2w.flatten()])) for number, view in enumerate(views)]
    write(folder / "cam_poses.txt", "\n".join(lines) + "\n")
    for number, view in enumerate(views):
        write(folder / "rgb" / f"{number:05d}.png", view.png())
        write(folder / "masks" / f"{number:05d}.png", mask_png(view))


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
        write(root / "scan24" / "mask" / f"{number:03d}.png", mask_png(view))
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
