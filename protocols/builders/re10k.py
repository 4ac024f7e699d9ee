"""RealEstate10K and ACID: pixelSplat's pairs and their videos, and what others made of the same clips."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from builders.common import count_null, load_entries, position_cases, prepare, with_twin
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
PAIR = {"metrics": ("psnr", "ssim"), "optional_metrics": ("lpips-vgg",)}


class Clips(NamedTuple):
    """A data set of clips that pixelSplat has lists of."""

    family: str
    data: Data
    source: str


CLIPS = (Clips("re10k", RE10K, RE10K_SOURCE), Clips("acid", ACID, ACID_SOURCE))


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [
        *build_pairs(splits),
        *build_videos(splits),
        *build_lagernvs(splits),
        *build_latentsplat(splits),
        *build_mvsplat360(splits),
        *build_depthsplat(splits),
        *build_seva(splits),
    ]


def _null(path: Path, what: str) -> str:
    count = count_null(path)
    return f"{count:,} clips of the published file have no entry (null: {what}); they are no cases here or there."


def build_pairs(splits: Path) -> list[Draft]:
    """Two references, three targets between them."""
    return [
        draft
        for clips in CLIPS
        for draft in _build_pixelsplat(
            splits,
            clips,
            file=f"evaluation_index_{clips.family}.json",
            name="pixelsplat-2v",
            title="two views and three targets between them, as pixelSplat chose them",
            also_in=(SAME_FILE,) if clips.family == "re10k" else (),
        )
    ]


def build_videos(splits: Path) -> list[Draft]:
    """The same pairs, every frame from the one to the other a target."""
    return [
        draft
        for clips in CLIPS
        for draft in _build_pixelsplat(
            splits,
            clips,
            file=f"evaluation_index_{clips.family}_video.json",
            name="pixelsplat-2v-video",
            title="two views and every frame between them",
            problems=(
                "Both ends of every clip are references and targets at once.",
                "The list was made for rendering videos; papers rarely say which of the two lists a number is of.",
            ),
        )
    ]


def _build_pixelsplat(
    splits: Path,
    clips: Clips,
    *,
    file: str,
    name: str,
    title: str,
    problems: tuple[str, ...] = (),
    also_in: tuple[str, ...] = (),
) -> list[Draft]:
    """One of pixelSplat's lists, prepared and scored as it does."""
    path = splits / PIXELSPLAT / file
    return with_twin(
        Draft(
            name=f"{clips.family}/{name}",
            title=f"{clips.family.upper()}, {title}",
            level="scene",
            regime="few-view",
            data=clips.data,
            preparation=prepare(256),
            convention="pixelsplat-offline",
            cases=position_cases(load_entries(path)),
            sources=(clips.source, PIXELSPLAT_SOURCE.format(file=file)),
            problems=(
                *problems,
                _null(path, "no pair with enough overlap was found"),
                *also_in,
                CONVENTION,
                CROP,
                VANISHING,
            ),
            **PAIR,
        )
    )


def build_lagernvs(splits: Path) -> list[Draft]:
    """LagerNVS scores pixelSplat's pairs, leak and all, after another resize and with another SSIM."""
    path = splits / PIXELSPLAT / "evaluation_index_re10k.json"
    return with_twin(
        Draft(
            name="re10k/lagernvs-2v",
            title="RE10K, pixelSplat's pairs as LagerNVS prepares and scores them",
            level="scene",
            regime="few-view",
            data=RE10K,
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
            **PAIR,
        )
    )


def build_latentsplat(splits: Path) -> list[Draft]:
    """latentSplat's own pairs: targets between the references (intra) and beyond them (extra)."""
    drafts: list[Draft] = []
    for kind, where in (("intra", "between"), ("extra", "outside")):
        path = splits / "Chrixtar+latentsplat" / "evaluation_index" / f"re10k_{kind}.json"
        drafts += with_twin(
            Draft(
                name=f"re10k/latentsplat-{kind}",
                title=f"RE10K, two views and three targets {where} them, as latentSplat chose them",
                level="scene",
                regime="few-view",
                data=RE10K,
                preparation=prepare(256),
                convention="pixelsplat-offline",
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
                **PAIR,
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
        common = Draft(
            name=f"re10k/mvsplat360-{kind}-14t",
            title=f"RE10K at 320x176, two views and MVSplat360's 14 targets ({kind})",
            level="scene",
            regime="few-view",
            data=RE10K,
            preparation=prepare(320, 176),
            convention="pixelsplat-offline",
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
            **PAIR,
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
        Draft(
            name="re10k/depthsplat-6v-video",
            title="RE10K at 960x512, six views spread over a clip and every frame of it",
            level="scene",
            regime="few-view",
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
            **PAIR,
        )
    )


def build_seva(splits: Path) -> list[Draft]:
    """SEVA's entry `re10k-pixelsplat`: of its seventeen the one whose ids are all published outside its archive."""
    return with_twin(
        Draft(
            name="seva/re10k-p",
            title="SEVA, RealEstate10K P (pixelSplat's pairs)",
            level="scene",
            regime="few-view",
            data=RE10K,
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
                "SEVA predicts at 576x576 and resizes to 256x256 before metrics; here predictions are made at 256x256.",
                "SEVA resizes by torch's area filter, which averages whole pixels; ours (box) weighs pixels that it "
                "cuts.",
                "No metric code was published: see `kbench metrics show seva` for what nobody knows of the convention.",
                "The rows of other methods are the means of their own papers, at their own preparation.",
                VANISHING,
            ),
            metrics=("psnr", "ssim", "lpips-alex"),
            index_of="re10k/pixelsplat-2v",
        )
    )
