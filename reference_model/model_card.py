"""The model card of a checkpoint, from what lies in it: `python -m reference_model.model_card DIR > DIR/README.md`.

Only what was measured or is written in the preset is said here. What a person adds: scores on real data, limits and
licence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

import torch

from reference_model.checkpoint import find_checkpoint, load_checkpoint
from reference_model.config import Preset, Stage
from reference_model.model import Kaleido, count_parameters
from reference_model.presets import PRESETS

WORLDS = "reference_model.worlds"


def render_card(name: str, preset: Preset, card: dict[str, Any]) -> str:
    """Markdown: one row a question."""
    code = str(card.get("code_sha256", "not recorded"))[:12]
    rows = {
        "model": describe_model(preset),
        "trained on": describe_data(card),
        "compute": describe_compute(preset, card),
        "seed, command": f"{preset.train.seed}, `{write_command(name, preset, card)}`",
        "renders": f"{preset.model.image_size}x{preset.model.image_size}, sequences of {preset.model.max_views} views",
        "held out": describe_scores(card.get("held_out_psnr") or []),
        "code": f"sha256 {code}, PyTorch {card.get('torch', 'not recorded')}",
    }
    lines = [f"# kaleido@{name}", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {question} | {answer} |" for question, answer in rows.items())]) + "\n"


def describe_model(preset: Preset) -> str:
    config = preset.model
    with torch.device("meta"):
        parameters = count_parameters(Kaleido(config))
    heads = f"{config.heads} heads" + (f" ({config.key_heads} of keys)" if config.key_heads != config.heads else "")
    shape = f"width {config.width}, {config.depth} blocks, {heads}, {config.codec} in patches of {config.patch}"
    return f"{parameters:,} parameters ({shape}), stored in bfloat16 as the running average of the weights"


def describe_data(card: dict[str, Any]) -> str:
    names = [str(name) for name in card.get("training_data", [])]
    if names != [WORLDS]:
        return f"{', '.join(names)}: benchmarks on the same data are not zero-shot"
    papered = str(card.get("photographs_sha256", ""))[:12]
    told = f", papered with the photographs of sha256 {papered}" if papered else ""
    return f"`{WORLDS}` alone, rendered during training{told}; no real capture, no scanned object, no other model"


def describe_compute(preset: Preset, card: dict[str, Any]) -> str:
    count = card.get("processes", 1)
    spent = f"{count} x {card.get('device', 'a device')}, {card['seconds']:.0f} s, {card['steps']:,} steps"
    stages = describe_stages(preset.train.stages)
    flops, views = f"{count_flops(card):.1e} model FLOPs", f"{preset.model.max_views} views a scene"
    return f"{spent}, {flops}{describe_before(card)}; of the budget {stages}; {views}"


def describe_before(card: dict[str, Any]) -> str:
    """What the weights had cost that a run began with, and those that they began with, where the cards say it."""
    before = list_cards(card)[1:]
    if not before:
        return ""
    steps, flops = sum(each["steps"] for each in before), sum_flops(before[0])
    return f" after {steps:,} steps and {flops:.1e} of the weights that it began with, {sum_flops(card):.1e} in all"


def list_cards(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Its own, and those of the weights that it began with, the latest first."""
    cards = [card]
    while before := cards[-1].get("initial_card"):
        cards.append(before)
    return cards


def sum_flops(card: dict[str, Any]) -> float:
    """Model FLOPs of a run and of those that its weights had had before."""
    return sum(map(count_flops, list_cards(card)))


def count_flops(card: dict[str, Any]) -> float:
    """Model FLOPs of a run, by the names that cards have had for them."""
    return card.get("flops", card.get("model_flops", 0.0))


def describe_stages(stages: Iterable[Stage]) -> str:
    told: list[str] = []
    for stage in stages:
        kind = "video, " if stage.video else ""
        told.append(f"{100 * stage.share:.0f} % at {stage.image_size} px ({kind}{stage.scenes} scenes a step)")
    return ", ".join(told)


def write_command(name: str, preset: Preset, card: dict[str, Any]) -> str:
    """The command that makes such weights again, where the card says how much was trained."""
    source = name if name in PRESETS and PRESETS[name]() == preset else "preset.json"
    budget = card.get("budget") or {"steps": card["steps"]}
    words = ["kbench train", source, *(f"--{option} {value:g}" for option, value in budget.items())]
    words += ["--gpus", str(count)] if (count := card.get("processes", 1)) > 1 else []
    begun = card.get("initial_sha256")
    return " ".join(words) + (f" --init WEIGHTS_OF_SHA256_{str(begun)[:12]}" if begun else "")


def describe_scores(rows: list[dict[str, float]]) -> str:
    """PSNR on views that no run sees."""
    if not rows:
        return "not scored"
    counts = " / ".join(f"{row['references']:.0f}" for row in rows)
    steps = sorted(int(way.removeprefix("steps_")) for way in rows[0] if way.startswith("steps_"))
    ways = {f"in {count} step{'s' if count > 1 else ''}": f"steps_{count}" for count in steps}
    ways["the nearest reference view"] = "nearest"
    told = [f"{title} {' / '.join(f'{row[way]:.2f}' for row in rows)}" for title, way in ways.items()]
    return f"PSNR in dB from {counts} references: {'; '.join(told)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a folder, or the name of weights that ship")
    try:
        folder = find_checkpoint(parser.parse_args().checkpoint)
        _, preset, card = load_checkpoint(folder)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write(render_card(folder.resolve().name, preset, card))


if __name__ == "__main__":
    main()
