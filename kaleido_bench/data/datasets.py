"""The data sets of the field: which reader reads them, where they come from, and under which terms.

A licence stands here as its publisher states it; "terms on the homepage" means that none was checked. Nothing is
fetched by this module: the table says where a person finds the data and in which layout the reader wants it
(docs/readers.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class DataSet(NamedTuple):
    """One data set.

    Attributes:
        name: as a protocol's `dataset.name` has it.
        title: as people call it.
        readers: names of readers for its published layouts, the usual one first.
        homepage: where it is described.
        licence: of the data, as far as it is known here.
        get: what to download and how to lay it out; one sentence.
    """

    name: str
    title: str
    readers: tuple[str, ...]
    homepage: str
    licence: str
    get: str


_RE10K_CHUNKS = "pixelSplat's README (dcharatan/pixelsplat, Acquiring datasets)"

_TABLE = (
    DataSet(
        "re10k",
        "RealEstate10K",
        ("re10k", "re10k-raw", "re10k-lvsm"),
        "https://google.github.io/realestate10k/",
        "CC BY 4.0 for the camera files; the videos belong to their owners",
        f"Take the .torch chunks that {_RE10K_CHUNKS} links and point the root at the folder with index.json, mostly"
        " test/; or the camera files with frames extracted as <key>/<timestamp>.jpg.",
    ),
    DataSet(
        "re10k-720p",
        "RealEstate10K at 720p",
        ("re10k", "re10k-raw", "re10k-lvsm"),
        "https://google.github.io/realestate10k/",
        "CC BY 4.0 for the camera files; the videos belong to their owners",
        "Download the videos at 720p with yilundu/cross_attention_renderer:data_download and pack them with"
        " dcharatan/real_estate_10k_tools, as cvg/depthsplat's DATASETS.md says.",
    ),
    DataSet(
        "acid",
        "ACID, Aerial Coastline Imagery Dataset",
        ("re10k", "re10k-raw", "re10k-lvsm"),
        "https://infinite-nature.github.io/",
        "terms on the homepage; the videos belong to their owners",
        f"Take the .torch chunks that {_RE10K_CHUNKS} links and point the root at the folder with index.json.",
    ),
    DataSet(
        "dl3dv-140",
        "DL3DV-140, the benchmark of DL3DV-10K",
        ("dl3dv-8", "dl3dv-4", "dl3dv", "long-lrm", "re10k"),
        "https://github.com/DL3DV-10K/Dataset",
        "DL3DV-10K terms of use, to be accepted first; research only",
        "Accept the terms on Hugging Face, download DL3DV/DL3DV-Benchmark, keep <hash>/nerfstudio/ as it is; Long-LRM's"
        " undistorted copy is made by arthurhero/Long-LRM:data/prosess_dl3dv.py.",
    ),
    DataSet(
        "dl3dv",
        "DL3DV-10K",
        ("dl3dv-4", "dl3dv-8", "dl3dv", "long-lrm", "re10k"),
        "https://github.com/DL3DV-10K/Dataset",
        "DL3DV-10K terms of use, to be accepted first; research only",
        "Accept the terms on Hugging Face, download DL3DV/DL3DV-ALL-960P or -480P, keep 1K/<hash>/ as it is.",
    ),
    DataSet(
        "co3d",
        "CO3D v2, Common Objects in 3D",
        ("co3d",),
        "https://github.com/facebookresearch/co3d",
        "terms on the homepage",
        "Run co3d/download_dataset.py of facebookresearch/co3d (--single_sequence_subset is 9 GB, all is 5.5 TB).",
    ),
    DataSet(
        "wildrgbd",
        "WildRGB-D",
        ("wildrgbd",),
        "https://github.com/wildrgbd/wildrgbd",
        "MIT for the repository; terms of the data on the homepage",
        "Run download.py --cat <category> of wildrgbd/wildrgbd and unpack the archives in one folder.",
    ),
    DataSet(
        "dtu",
        "DTU MVS",
        ("dtu-pixelnerf", "dtu-idr"),
        "https://roboimagedata.compute.dtu.dk/?page_id=36",
        "free for research, no licence text",
        "rs_dtu_4 comes from dtu_dataset.zip of sxyu/pixel-nerf's README, IDR's scans with masks from lioryariv/idr"
        " (data/download_data.sh).",
    ),
    DataSet(
        "dtu-mvsnet",
        "DTU MVS in MVSNet's training layout",
        ("dtu-mvsnet", "dtu-mvsplat", "re10k"),
        "https://roboimagedata.compute.dtu.dk/?page_id=36",
        "free for research, no licence text",
        "Take the preprocessed training data (dtu_training.rar, mvs_training/dtu) from the README of YoYo000/MVSNet.",
    ),
    DataSet(
        "llff",
        "LLFF, NeRF's eight forward-facing scenes",
        ("llff-8", "llff-4", "llff", "colmap"),
        "https://bmild.github.io/llff/",
        "no licence text with the data",
        "Take nerf_llff_data.zip from bmild/nerf's README; it holds images, images_4 and images_8.",
    ),
    DataSet(
        "mipnerf360",
        "Mip-NeRF 360",
        ("mipnerf360", "colmap-4", "colmap-2", "colmap-8", "colmap"),
        "https://jonbarron.info/mipnerf360/",
        "no licence text with the data",
        "Take 360_v2.zip (and 360_extra_scenes.zip for flowers and treehill) from the homepage; keep sparse/0 and"
        " images_N.",
    ),
    DataSet(
        "tanks-and-temples",
        "Tanks and Temples",
        ("colmap", "colmap-2", "long-lrm"),
        "https://www.tanksandtemples.org/",
        "terms on the homepage",
        "Take tandt_db.zip from graphdeco-inria/gaussian-splatting's README (train and truck, undistorted, with"
        " sparse/0).",
    ),
    DataSet(
        "nerf-synthetic",
        "NeRF-Synthetic, Blender",
        ("nerf-synthetic",),
        "https://www.matthewtancik.com/nerf",
        "by scene: chair, ficus, hotdog, materials, mic CC0; drums CC BY; lego CC BY-NC; ship CC BY-SA",
        "Take nerf_synthetic.zip from bmild/nerf's README.",
    ),
    DataSet(
        "gso-30",
        "GSO-30, thirty Google Scanned Objects as EscherNet rendered them",
        ("gso-eschernet",),
        "https://github.com/kxhit/EscherNet",
        "Google Scanned Objects CC BY 4.0; the renders carry none of their own",
        "Download GSO30 of the Hugging Face data set kxic/EscherNet-Dataset.",
    ),
    DataSet(
        "gso",
        "Google Scanned Objects",
        ("gso-eschernet", "seva"),
        "https://app.gazebosim.org/GoogleResearch/fuel/collections/Scanned%20Objects%20by%20Google%20Research",
        "CC BY 4.0",
        "Download the meshes and render them as the protocol's source says, or take gso-30's renders.",
    ),
    DataSet(
        "objaverse",
        "Objaverse as Zero-1-to-3 rendered it",
        ("objaverse",),
        "https://objaverse.allenai.org/",
        "ODC-By 1.0; every object has a licence of its own",
        "Take views_release.tar.gz from cvlab-columbia/zero123's README (1.5 TB).",
    ),
    DataSet(
        "rtmv",
        "RTMV, Ray-Traced Multi-View",
        ("rtmv",),
        "http://www.cs.umd.edu/~mmeshry/projects/rtmv/",
        "terms on the homepage",
        "Take google_scanned.tar below 40_scenes from the link in kxhit/EscherNet's README.",
    ),
    DataSet(
        "omniobject3d",
        "OmniObject3D",
        ("omniobject3d",),
        "https://omniobject3d.github.io/",
        "CC BY 4.0",
        "Download raw/blender_renders with openxlab (omniobject3d/OmniObject3D's README) and untar it.",
    ),
    DataSet(
        "srn-cars",
        "ShapeNet cars as SRN rendered them",
        ("srn",),
        "https://www.vincentsitzmann.com/srns/",
        "ShapeNet terms of use",
        "Take srn_cars.zip from sxyu/pixel-nerf's README and point the root at cars_test.",
    ),
    DataSet(
        "srn-chairs",
        "ShapeNet chairs as SRN rendered them",
        ("srn",),
        "https://www.vincentsitzmann.com/srns/",
        "ShapeNet terms of use",
        "Take srn_chairs.zip from sxyu/pixel-nerf's README and point the root at chairs_test.",
    ),
    DataSet(
        "two-object",
        "PixelNeRF's scenes of two chairs",
        ("two-object",),
        "https://github.com/sxyu/pixel-nerf",
        "ShapeNet terms of use",
        "Take multi_chair_test.zip from sxyu/pixel-nerf's README.",
    ),
    DataSet(
        "shapenet-nmr",
        "ShapeNet, 13 categories at 64 x 64 (NMR renders in DVR's format)",
        ("nmr",),
        "https://github.com/autonomousvision/differentiable_volumetric_rendering",
        "ShapeNet terms of use",
        "Take NMR_Dataset.zip from the link in sxyu/pixel-nerf's README.",
    ),
    DataSet(
        "seva",
        "SEVA's benchmark scenes",
        ("seva",),
        "https://github.com/Stability-AI/stable-virtual-camera/releases/tag/benchmark",
        "that of each underlying data set",
        "Take benchmark.zip of that release; entries without images/ want their data set converted to transforms.json"
        " by benchmark/export_reconfusion_example.py, images sorted by path.",
    ),
)

DATASETS: Mapping[str, DataSet] = MappingProxyType({row.name: row for row in _TABLE})
"""Every data set by name."""


def how_to_get_as(name: str, reader: str) -> str:
    """`how_to_get` of a data set, and of the reader's own where its layout is not one of the data set's."""
    if name not in DATASETS or reader in DATASETS[name].readers:
        return how_to_get(name)
    return how_to_get(name, *(other for other in datasets_of(reader) if other != name))


def how_to_get(*names: str) -> str:
    """What a message says where data is missing: for each data set its title, what to do, and its homepage.

    Args:
        names: of data sets; one that is not in the table says nothing.
    """
    known = [DATASETS[name] for name in names if name in DATASETS]
    if not known:
        return "Fetch the data set again, or point --data elsewhere."
    return " ".join(f"{row.title}: {row.get} See {row.homepage}" for row in known)


def datasets_of(reader: str) -> tuple[str, ...]:
    """The names of the data sets whose usual layout a reader reads; of any layout where it is nobody's usual."""
    usual = tuple(row.name for row in _TABLE if row.readers[0] == reader)
    return usual or tuple(row.name for row in _TABLE if reader in row.readers)
