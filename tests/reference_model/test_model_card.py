"""Model cards say what was measured: the one that is made, and those that ship, whoever wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reference_model.checkpoint import SHIPPED
from reference_model.config import Stage
from reference_model.model_card import describe_stages, main, render_card
from reference_model.presets import smoke
from reference_model.stored import from_json

CARD: dict[str, Any] = {
    "training_data": ["reference_model.worlds"],
    "photographs_sha256": "abcdef0123456789",
    "seconds": 61.4,
    "steps": 1200,
    "flops": 1.25e16,
    "budget": {"flops": 1.25e16},
    "device": "NVIDIA H100",
    "processes": 2,
    "torch": "2.13.0",
    "code_sha256": "0123456789abcdef",
    "initial_sha256": None,
    "held_out_psnr": [
        {"references": 1.0, "nearest": 14.0, "steps_1": 17.125, "steps_16": 16.0, "steps_4": 16.5},
        {"references": 3.0, "nearest": 15.0, "steps_1": 19.0, "steps_16": 18.0, "steps_4": 18.5},
    ],
}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({}, "| model | 186,944 parameters (width 64, 2 blocks, 2 heads, pixels in patches of 8), stored"),
        ({}, "| trained on | `reference_model.worlds` alone, rendered during training, papered with the photographs"),
        ({"training_data": ["dtu"]}, "| trained on | dtu: benchmarks on the same data are not zero-shot |"),
        (
            {},
            "| compute | 2 x NVIDIA H100, 61 s, 1,200 steps, 1.2e+16 model FLOPs; of the budget 50 % at 16 px",
        ),
        ({}, "| seed, command | 0, `kbench train smoke --flops 1.25e+16 --gpus 2` |"),
        ({"budget": {"minutes": 9.0}, "processes": 1}, "`kbench train smoke --minutes 9` |"),
        (
            {"initial_card": {"flops": 5e15, "steps": 900, "initial_card": {"model_flops": 2.5e15, "steps": 100}}},
            "1,200 steps, 1.2e+16 model FLOPs after 1,000 steps and 7.5e+15 of the weights that it began with",
        ),
        ({"initial_sha256": "feed" * 16}, "--flops 1.25e+16 --gpus 2 --init WEIGHTS_OF_SHA256_feedfeedfeed` |"),
        (
            {},
            "| held out | PSNR in dB from 1 / 3 references: in 1 step 17.12 / 19.00; in 4 steps 16.50 / 18.50; in 16 ",
        ),
        ({}, "the nearest reference view 14.00 / 15.00 |"),
        ({"held_out_psnr": []}, "| held out | not scored |"),
        ({}, "| code | sha256 0123456789ab, PyTorch 2.13.0 |"),
    ],
)
def test_what_a_card_says(change: dict[str, Any], row: str) -> None:
    assert row in render_card("smoke", smoke(), CARD | change)


def test_a_checkpoint_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["model_card", "nowhere"])
    with pytest.raises(SystemExit, match="no checkpoint 'nowhere': give a folder"):
        main()


def test_a_video_stage_is_named() -> None:
    assert describe_stages([Stage(64, 96, 0.1, video=True)]) == "10 % at 64 px (video, 96 scenes a step)"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in SHIPPED.glob("*/card.json")))
def test_the_cards_that_ship_hold_the_figures_beside_them(name: str) -> None:
    """Written by a person or not: size, steps, seed and every score of the one-step sampler, rounded."""
    folder = SHIPPED / name
    text, card = (folder / "README.md").read_text(), json.loads((folder / "card.json").read_text())
    made = render_card(name, from_json((folder / "preset.json").read_text()), card)
    parameters = made.split(" parameters")[0].split()[-1]
    assert f"{parameters} parameters" in text and f"{card['steps']:,} steps" in text
    assert all(data in text for data in card["training_data"])
    for row in card["held_out_psnr"]:
        for way in ("steps_1", "nearest"):
            assert any(f"{row[way]:.{digits}f}" in text for digits in (1, 2)), (row["references"], way)
