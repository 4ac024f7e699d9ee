"""Every published layout: how one small scene is written in it, and what reading it back must give.

The writers (scene_layouts.py, object_layouts.py, render_layouts.py) put the views of tests.data.readers.points on disk
by the definitions of the layout's publisher, which their docstrings cite; none uses a reader, a converter of
kaleido_bench.data.cameras, or its inverse. What the reader says must put every point on its dot.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.data.readers.object_layouts import (
    DTU_SCALE,
    DTU_SHIFT,
    write_co3d,
    write_dtu_idr,
    write_dtu_mvsnet,
    write_dtu_pixelnerf,
    write_wildrgbd,
)
from tests.data.readers.points import COUNT, TrueView, make_views
from tests.data.readers.render_layouts import (
    write_blender_renders,
    write_nerf_synthetic,
    write_nmr,
    write_omniobject3d,
    write_rtmv,
    write_srn,
    write_two_object,
)
from tests.data.readers.scene_layouts import (
    write_colmap,
    write_dl3dv,
    write_llff,
    write_long_lrm,
    write_re10k,
    write_re10k_lvsm,
    write_re10k_raw,
    write_seva,
)


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


def positions(count: int = COUNT) -> tuple[str, ...]:
    """Ids that are positions."""
    return tuple(map(str, range(count)))


def stems(digits: int) -> tuple[str, ...]:
    """Ids that are numbers with leading zeros."""
    return tuple(f"{number:0{digits}d}" for number in range(COUNT))


def photograph_views() -> list[TrueView]:
    """Large enough to be reduced by eight and still show dots."""
    return make_views(768, 576, 640.0, square_pixels=False)


def llff_views() -> list[TrueView]:
    """One focal length, principal point in the middle."""
    return make_views(768, 576, 640.0, centred=True)


def mvsnet_views() -> list[TrueView]:
    """At MVSNet's size."""
    return make_views(640, 512, 540.0, square_pixels=False)


def blender_35mm_views() -> list[TrueView]:
    """Blender: 35 mm on a sensor of 32 mm, square, principal point in the middle."""
    return make_views(96, 96, 35 / 32 * 96, centred=True)


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
