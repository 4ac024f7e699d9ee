"""RealEstate10K and ACID: pixelSplat's pairs and their videos, and what others made of the same clips."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from builders.common import count_null, load_entries, position_cases, prepare, with_twin
from builders.seva import LATER_RESIZE, SEVA
from kaleido_bench.drafts import Data, Draft

PIXELSPLAT = "dcharatan+pixelsplat"
RE10K = Data(
    "re10k",
    "re10k",
    "re10k/test",
    "pixelSplat's chunks of RealEstate10K's test split, 360p (dcharatan/real_estate_10k_tools)",
)
ACID = Data("acid", "re10k", "acid/test", "pixelSplat's chunks of ACID's test split, 360p")
RE10K_720P = Data(
    "re10k-720p",
    "re10k",
    "re10k_720p/test",
    "chunks of RealEstate10K's test split at 720p (cvg/depthsplat: DATASETS.md)",
)

RE10K_SOURCE = "data: RealEstate10K (Zhou et al. 2018), camera files CC BY 4.0; the frames are YouTube videos"
ACID_SOURCE = "data: ACID (Liu et al. 2021), camera files CC BY 4.0; the frames are YouTube videos"
PIXELSPLAT_SOURCE = "split: dcharatan/pixelsplat@32b1b662bbba, assets/{file}; MIT"
SAME_FILE = (
    "The same bytes are in donydchen/mvsplat, cvg/depthsplat, Haian-Jin/LVSM and donydchen/mvsplat360 "
    "(assets/re10k_evaluation/re10k_inter.json), the same entries in facebookresearch/lagernvs (assets/re10k_2v.json)."
)
CONVENTION = (
    "Convention: pixelSplat scores PNGs that were truncated to 8 bits; MVSplat, DepthSplat and LVSM score floats in "
    "memory (conventions mvsplat, lvsm), which is a little more for the same images."
)
CROP = "Only the central square of a 640x360 frame is seen and scored."
VANISHING = "Clips vanish from YouTube: a copy of the data that lacks scenes must not be scored as if it were whole."
PAIRS = Draft(
    name="",
    title="",
    level="scene",
    regime="few-view",
    data=RE10K,
    preparation=prepare(256),
    convention="pixelsplat-offline",
    metrics=("psnr", "ssim"),
    optional_metrics=("lpips-vgg",),
    sources=(),
)
"""What nearly all of them do as pixelSplat did, and each says of itself where it does otherwise."""


class Clips(NamedTuple):
    """A data set of clips that pixelSplat has lists of."""

    family: str
    data: Data
    source: str


class Listing(NamedTuple):
    """One of pixelSplat's lists, which it has of each of its data sets."""

    file: str  # with {} for the family
    name: str
    title: str
    problems: tuple[str, ...] = ()
    also_in: Mapping[str, str] = {}  # family -> where the same list is


CLIPS = (Clips("re10k", RE10K, RE10K_SOURCE), Clips("acid", ACID, ACID_SOURCE))
LISTINGS = (
    Listing(
        "evaluation_index_{}.json",
        "pixelsplat-2v",
        "two views and three targets between them, as pixelSplat chose them",
        also_in={"re10k": SAME_FILE},
    ),
    Listing(
        "evaluation_index_{}_video.json",
        "pixelsplat-2v-video",
        "two views and every frame between them",
        problems=(
            "Both ends of every clip are references and targets at once.",
            "The list was made for rendering videos; papers rarely say which of the two lists a number is of.",
        ),
    ),
)


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [
        *build_pixelsplat(splits),
        *build_lagernvs(splits),
        *build_latentsplat(splits),
        *build_mvsplat360(splits),
        *build_depthsplat(splits),
        *build_seva(splits),
    ]


def _null(path: Path, what: str) -> str:
    count = count_null(path)
    return f"{count:,} clips of the published file have no entry (null: {what}); they are no cases here or there."


def build_pixelsplat(splits: Path) -> list[Draft]:
    """pixelSplat's pairs of references, with three targets between them and with every frame, scored as it does."""
    drafts: list[Draft] = []
    for listing, clips in itertools.product(LISTINGS, CLIPS):
        file = listing.file.format(clips.family)
        path = splits / PIXELSPLAT / file
        null = _null(path, "no pair with enough overlap was found")
        also_in = (listing.also_in[clips.family],) if clips.family in listing.also_in else ()
        drafts += with_twin(
            PAIRS._replace(
                name=f"{clips.family}/{listing.name}",
                title=f"{clips.family.upper()}, {listing.title}",
                data=clips.data,
                cases=position_cases(load_entries(path)),
                sources=(clips.source, PIXELSPLAT_SOURCE.format(file=file)),
                problems=(*listing.problems, null, *also_in, CONVENTION, CROP, VANISHING),
            )
        )
    return drafts


def build_lagernvs(splits: Path) -> list[Draft]:
    """LagerNVS scores pixelSplat's pairs, leak and all, after another resize and with another SSIM."""
    path = splits / PIXELSPLAT / "evaluation_index_re10k.json"
    return with_twin(
        PAIRS._replace(
            name="re10k/lagernvs-2v",
            title="RE10K, pixelSplat's pairs as LagerNVS prepares and scores them",
            preparation=prepare(256, filter="bilinear"),
            convention="lagernvs",
            cases=position_cases(load_entries(path)),
            sources=(
                RE10K_SOURCE,
                "split: facebookresearch/lagernvs@579effc55b9f, assets/re10k_2v.json: the 6,474 entries of "
                "pixelSplat's index, checked equal",
                "preparation: facebookresearch/lagernvs, data/sources/base_dataset.py: central crop to the aspect, "
                "torchvision Resize (bilinear, antialiased); config/eval_re10k.yaml: 256x256",
            ),
            problems=(
                "Not re10k/pixelsplat-2v although the views are: another resize, and an SSIM with zero padding. Its "
                "own DL3DV lists drop the leaked targets; this one keeps them.",
                "There the frame is cropped before it is resized; here it is resized to cover and then cropped. The "
                "windows differ by less than a pixel.",
                VANISHING,
            ),
            index_of="re10k/pixelsplat-2v",
        )
    )


def build_latentsplat(splits: Path) -> list[Draft]:
    """latentSplat's own pairs: targets between the references (intra) and beyond them (extra)."""
    drafts: list[Draft] = []
    for kind, where in (("intra", "between"), ("extra", "outside")):
        path = splits / "Chrixtar+latentsplat" / "evaluation_index" / f"re10k_{kind}.json"
        drafts += with_twin(
            PAIRS._replace(
                name=f"re10k/latentsplat-{kind}",
                title=f"RE10K, two views and three targets {where} them, as latentSplat chose them",
                cases=position_cases(load_entries(path)),
                sources=(
                    RE10K_SOURCE,
                    f"split: Chrixtar/latentsplat@67ae0f664a1f, assets/evaluation_index/re10k_{kind}.json; MIT",
                ),
                problems=(
                    "Other pairs and other targets than pixelSplat's: not comparable with re10k/pixelsplat-2v.",
                    _null(path, "an empty list"),
                    "latentSplat is generative, and reports DISTS too, which is not defined here.",
                    CROP,
                    VANISHING,
                ),
            )
        )
    return drafts


def build_mvsplat360(splits: Path) -> list[Draft]:
    """MVSplat360 renders 14 views a clip for its video model and scores 3 of them."""
    drafts: list[Draft] = []
    folder = splits / "donydchen+mvsplat360" / "re10k_evaluation"
    for kind, file, base in (
        ("inter", "re10k_inter_14_target_views_match.json", "re10k/pixelsplat-2v"),
        ("extra", "re10k_extra_latentsplat_14_target_views_match.json", "re10k/latentsplat-extra"),
    ):
        entries = load_entries(folder / file)
        common = PAIRS._replace(
            name=f"re10k/mvsplat360-{kind}-14t",
            title=f"RE10K at 320x176, two views and MVSplat360's 14 targets ({kind})",
            preparation=prepare(320, 176),
            cases=position_cases(entries),
            sources=(
                RE10K_SOURCE,
                f"split: donydchen/mvsplat360@986a9917e6dd, assets/re10k_evaluation/{file}; MIT",
                "preparation: donydchen/mvsplat360, config/dataset/re10k.yaml (180x320), then 176 rows, a multiple of "
                "shim_patch_size 4 times downscale_factor 4 (config/model/encoder/costvolume.yaml)",
            ),
            problems=(
                "14 targets are rendered together because the video model makes 14 frames. The repository scores the 3 "
                f"of them under `target_quantify` (re10k/mvsplat360-{kind}-3t); all 14 are ours to score.",
                "Same references as " + base + ", at 320x176 instead of the 256x256 crop.",
                "It reports DISTS and FID too, which are not defined here.",
                VANISHING,
            ),
        )
        drafts += with_twin(common)
        drafts += with_twin(
            common._replace(
                name=f"re10k/mvsplat360-{kind}-3t",
                title=f"RE10K at 320x176, two views and the 3 targets that MVSplat360 scores ({kind})",
                cases=position_cases(entries, scored=True),
                index_of=base,
                problems=(
                    f"The views of {base} at 320x176 instead of the 256x256 crop. MVSplat360 renders 11 more views "
                    f"with them (re10k/mvsplat360-{kind}-14t); here a method is asked for the 3 alone.",
                    "It reports DISTS and FID too, which are not defined here.",
                    VANISHING,
                ),
            )
        )
    return drafts


def build_depthsplat(splits: Path) -> list[Draft]:
    """DepthSplat's long clips from six views."""
    path = splits / "cvg+depthsplat" / "re10k_ctx_6v_video.json"
    return with_twin(
        PAIRS._replace(
            name="re10k/depthsplat-6v-video",
            title="RE10K at 960x512, six views spread over a clip and every frame of it",
            data=RE10K_720P,
            preparation=prepare(960, 512),
            convention="mvsplat",
            cases=position_cases(load_entries(path)),
            sources=(
                RE10K_SOURCE,
                "split: cvg/depthsplat@2dad25a7b9ba, assets/re10k_ctx_6v_video.json; MIT",
                "preparation: cvg/depthsplat, README.md: image_shape 512x960 of 720p frames",
            ),
            problems=(
                "All six references are targets too.",
                "The repository uses the list for videos only (compute_scores=false): no published number is known.",
                "415,540 images of 960x512: some 600 GB of predictions.",
                VANISHING,
            ),
        )
    )


def build_seva(splits: Path) -> list[Draft]:
    """SEVA's entry `re10k-pixelsplat`: of its seventeen the one whose ids are all published outside its archive."""
    return with_twin(
        PAIRS._replace(
            name="seva/re10k-p",
            title="SEVA, RealEstate10K P (pixelSplat's pairs)",
            preparation=prepare(256, filter="box", background="white", alpha="composite"),
            convention="seva",
            cases=position_cases(load_entries(splits / PIXELSPLAT / "evaluation_index_re10k.json")),
            sources=(
                RE10K_SOURCE,
                PIXELSPLAT_SOURCE.format(file="evaluation_index_re10k.json"),
                "preparation: Stability-AI/stable-virtual-camera, benchmark/README.md",
                "counts (6,474 scenes, 2 inputs, 3 targets): SEVA (Zhou et al. 2025, arXiv 2503.14489), Table 7",
                "metrics: Stability-AI/stable-virtual-camera#53",
            ),
            problems=(
                LATER_RESIZE,
                *SEVA.problems,
                "The rows of other methods are the means of their own papers, at their own preparation.",
                VANISHING,
            ),
            metrics=("psnr", "ssim", "lpips-alex"),
            optional_metrics=(),
            index_of="re10k/pixelsplat-2v",
        )
    )
