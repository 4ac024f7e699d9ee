"""Write held-out worlds as scenes on disk: `python -m reference_model.worlds.export --out DIR`.

Each scene is a folder with `images/` and a `transforms.json` (camera-to-world in OpenGL axes, intrinsics in pixels).
Rendered on the CPU, so that the same call gives the same pixels; the seeds lie beyond those that training draws from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from reference_model.held_out import HELD_OUT_SEED
from reference_model.worlds import draw_batch
from reference_model.worlds.cameras import Rig, build_intrinsics
from reference_model.worlds.photographs import load_photographs
from reference_model.worlds.render import render_worlds

EXPORT_SEED = 2 * HELD_OUT_SEED
OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def write_scene(folder: Path, images: torch.Tensor, rig: Rig, size: int, seed: int) -> None:
    """One scene of views [v, 3, size, size] in [0, 1]; the rig holds that one scene."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    matrices = (rig.c2w[0] @ OPENGL_FROM_OPENCV).double()
    frames: list[dict[str, object]] = []
    for view, (image, matrix, k) in enumerate(
        zip(images, matrices, build_intrinsics(rig, size)[0].double(), strict=True)
    ):
        name = f"images/{view:02d}.png"
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / name, optimize=True)
        lens = {"fl_x": k[0, 0].item(), "fl_y": k[1, 1].item(), "cx": k[0, 2].item(), "cy": k[1, 2].item()}
        frames.append({"file_path": name, **lens, "w": size, "h": size, "transform_matrix": matrix.tolist()})
    about = {
        "camera_model": "PINHOLE",
        "scene": folder.name,
        "source": f"reference_model.worlds, seed {seed}",
        "frames": frames,
    }
    (folder / "transforms.json").write_text(json.dumps(about, indent=1) + "\n")


def export_worlds(
    out: Path, scenes: int, views: int, size: int, seed: int = EXPORT_SEED, least_contrast: float = 0.06
) -> None:
    """Write `scenes` worlds. A world with a view that shows next to nothing (standard deviation below least_contrast)
    is passed over.
    """
    written, photographs = 0, load_photographs()
    while written < scenes:
        worlds, rig = draw_batch(1, views, torch.Generator().manual_seed(seed))
        images = render_worlds(worlds, rig, size, samples=4, photographs=photographs)[0]
        if images.flatten(1).std(1).min() >= least_contrast:
            write_scene(out / f"world-{written:02d}", images, rig, size, seed)
            written += 1
        seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--views", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    export_worlds(args.out, args.scenes, args.views, args.size)


if __name__ == "__main__":
    main()
