"""DL3DV-140: DepthSplat's windows, LagerNVS' windows without the references, MVSplat360's sweeps."""

from __future__ import annotations

from pathlib import Path

from builders.common import load_entries, make_case, position_cases, prepare, with_twin
from kaleido_bench.drafts import Data, Draft

QUARTER = Data("dl3dv-140", "dl3dv-4", "dl3dv", "DL3DV-Benchmark, 140 scenes, images_4 (960x540)")
EIGHTH = Data("dl3dv-140", "dl3dv-8", "dl3dv", "DL3DV-Benchmark, 140 scenes, images_8 (480x270)")
SOURCE = (
    "data: DL3DV-10K benchmark (Ling et al. 2024), huggingface DL3DV/DL3DV-Benchmark; its own licence, non-commercial"
)
METRICS = {"metrics": ("psnr", "ssim"), "optional_metrics": ("lpips-vgg",)}
PATCHES = (
    "cvg/depthsplat, config/dataset/dl3dv.yaml (image_shape 270x480: images_8 as they are), then the central 448x256, "
    "multiples of shim_patch_size 16 times downscale_factor 4 (config/experiment/dl3dv.yaml, "
    "config/model/encoder/depthsplat.yaml, src/dataset/shims/patch_shim.py)"
)
CUT = (
    "Images are cropped to 448x256, not resized: the outermost 7 rows and 16 columns of 480x270 are neither seen nor "
    "scored. Papers write 256x448, or 270x480."
)
SAME_NAME = (
    "Two target sets go by one name: DepthSplat's windows with the references among the targets, and LagerNVS' "
    "(dl3dv/lagernvs-{count}v) without."
)
NEIGHBOURS = "Frames of a video: without a leak by name, a target's neighbour may still show almost the same image."


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [*build_depthsplat(splits), *build_near(splits), *build_lagernvs(splits), *build_mvsplat360(splits)]


def build_depthsplat(splits: Path) -> list[Draft]:
    """Frames 0 to 49 from 2, 4 and 6 of them; frames 0 to 99 from 12."""
    drafts: list[Draft] = []
    folder = splits / "cvg+depthsplat"
    for count in (2, 4, 6, 12):
        long = count == 12
        file = f"dl3dv_start_0_distance_{100 if long else 50}_ctx_{count}v_video{'' if long else '_0_50'}.json"
        problems = (
            (
                "The repository uses the list for videos only (compute_scores=false).",
                "60 of the 140 scenes have fewer than 100 targets, 87 at least: a window begins with its first "
                "reference, and some end before frame 99.",
            )
            if long
            else (
                SAME_NAME.format(count=count),
                CUT,
                f"In {_count_beyond(folder / file)} of the 140 scenes the references do not reach both ends of the "
                "window: targets before the first or after the last are extrapolated.",
                "2, 4 and 6 views: the references are nested and the window is the same, but with more references more "
                "targets are leaked (4, 8, 12 %): part of the slope of a curve over the three is the leak.",
            )
        )
        drafts += with_twin(
            Draft(
                name=f"dl3dv/depthsplat-{count}v",
                title=f"DL3DV-140, {count} views of a window of {100 if long else 50} frames, as DepthSplat asks",
                level="scene",
                regime="many-view" if long else "few-view",
                data=QUARTER if long else EIGHTH,
                preparation=prepare(960, 512) if long else prepare(448, 256, fit="crop"),
                convention="mvsplat",
                cases=position_cases(load_entries(folder / file)),
                sources=(
                    SOURCE,
                    f"split: cvg/depthsplat@2dad25a7b9ba, assets/{file}; MIT",
                    "preparation: cvg/depthsplat, README.md: image_shape 512x960 of images_4, cropped"
                    if long
                    else f"preparation: {PATCHES}",
                ),
                problems=(*problems, NEIGHBOURS),
                **METRICS,
            )
        )
    return drafts


def _count_beyond(path: Path) -> int:
    """Scenes with a target before the first reference or after the last."""
    return sum(
        min(entry.target) < min(entry.context) or max(entry.target) > max(entry.context) for entry in load_entries(path)
    )


def build_near(splits: Path) -> list[Draft]:
    """Two frames nine apart and four between them: RE10K models tried on DL3DV."""
    file = "dl3dv_start_0_distance_10_ctx_2v_tgt_4v.json"
    return with_twin(
        Draft(
            name="dl3dv/depthsplat-2v-near",
            title="DL3DV-140, two near frames and four between them (RE10K models on DL3DV)",
            level="scene",
            regime="few-view",
            data=EIGHTH,
            preparation=prepare(448, 256, fit="crop"),
            convention="mvsplat",
            cases=position_cases(load_entries(splits / "cvg+depthsplat" / file)),
            sources=(
                SOURCE,
                f"split: cvg/depthsplat@2dad25a7b9ba, assets/{file}; MIT",
                f"preparation: {PATCHES}",
            ),
            problems=(
                "The model that the repository's command loads was trained at 256x256, and the command evaluates it on "
                "the 448x256 crop.",
                CUT,
                "Targets are frames 1, 3, 5 and 7 between references 0 and 9: a very near pair.",
            ),
            **METRICS,
        )
    )


def build_lagernvs(splits: Path) -> list[Draft]:
    """LagerNVS: DepthSplat's windows, references removed from the targets, 256x256."""
    drafts: list[Draft] = []
    for count in (2, 4, 6):
        file = f"dl3dv_start_0_distance_50_ctx_{count}v_video_0_50.json"
        entries = load_entries(splits / "cvg+depthsplat" / file)
        cases = tuple(
            make_case(
                entry.scene,
                [str(view) for view in entry.context],
                [str(view) for view in entry.target if view not in entry.context],
            )
            for entry in entries
        )
        drafts.append(
            Draft(
                name=f"dl3dv/lagernvs-{count}v",
                title=f"DL3DV-140, {count} views of a window of 50 frames, as LagerNVS asks: references are no targets",
                level="scene",
                regime="few-view",
                data=QUARTER,
                preparation=prepare(256, filter="bilinear"),
                convention="lagernvs",
                cases=cases,
                sources=(
                    SOURCE,
                    f"split: facebookresearch/lagernvs@579effc55b9f, assets/dl3dv_{count}v.json, checked equal to "
                    f"cvg/depthsplat@2dad25a7b9ba, assets/{file}, without the references among the targets",
                    "preparation: facebookresearch/lagernvs, data/sources/base_dataset.py: central crop to the aspect, "
                    "torchvision Resize (bilinear, antialiased); config/eval_dl3dv.yaml: 256x256; images_4",
                ),
                problems=(
                    f"The views of dl3dv/depthsplat-{count}v-strict-novel, at 256x256 instead of 448x256 and with "
                    f"another SSIM: comparable with neither it nor dl3dv/depthsplat-{count}v.",
                    "The number of targets falls with the number of references (48, 46, 44): the targets of a curve "
                    "over the three move.",
                    "There the frame is cropped before it is resized; here it is resized to cover and then cropped.",
                    NEIGHBOURS,
                ),
                index_of=f"dl3dv/depthsplat-{count}v-strict-novel",
                **METRICS,
            )
        )
    return drafts


def build_mvsplat360(splits: Path) -> list[Draft]:
    """MVSplat360's 56 targets over the whole clip, from 3 to 7 views; and over its first 150 frames from 5."""
    drafts: list[Draft] = []
    folder = splits / "donydchen+mvsplat360" / "dl3dv_evaluation"
    for name in ("3v", "4v", "5v", "6v", "7v", "5v-n150"):
        count, _, short = name.partition("-")
        file = f"dl3dv_ctx_{count}_tgt_56v{'_n150' if short else ''}.json"
        span = "a range of some 150 frames" if short else "the clip"
        drafts += with_twin(
            Draft(
                name=f"dl3dv/mvsplat360-{name}",
                title=f"DL3DV-140, {count[0]} views and 56 targets over {span}, as MVSplat360 asks",
                level="scene",
                regime="few-view",
                data=EIGHTH,
                preparation=prepare(448, 256, fit="crop"),
                convention="pixelsplat-offline",
                cases=position_cases(load_entries(folder / file)),
                sources=(
                    SOURCE,
                    f"split: donydchen/mvsplat360@986a9917e6dd, assets/dl3dv_evaluation/{file}; MIT",
                    "preparation: donydchen/mvsplat360, config/dataset/dl3dv.yaml (270x480), shim_patch_size 16 and "
                    "downscale_factor 4 (config/experiment/dl3dv_mvsplat360.yaml, "
                    "config/model/encoder/costvolume.yaml): "
                    "the central 448x256",
                    "metrics: donydchen/mvsplat360, src/scripts/compute_dl3dv_metrics.py: pixelSplat's, of saved PNGs",
                ),
                problems=(
                    CUT,
                    "The targets move with the number of references: they are spread over the frames that are no "
                    "references.",
                    "It reports DISTS and FID too, which are not defined here. Its tables average over images; every "
                    "scene has 56, so that the mean over scenes is the same.",
                ),
                **METRICS,
            )
        )
    return drafts
