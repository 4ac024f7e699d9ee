"""Reference features: on the tokens' grid, row by row, from a DINOv2 read from a folder as a real one is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from kaleido_bench.score.metrics.oracles import repair_torchvision
from reference_model.features import DinoV2, NoFeatures, build_features, load_dinov2


def import_transformers():
    """It imports torchvision where there is one, broken or not."""
    repair_torchvision()
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=["dinov2", "dinov2_with_registers"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, small, written in the layout of the real ones."""
    transformers = import_transformers()
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    registers = request.param == "dinov2_with_registers"
    config = (transformers.Dinov2WithRegistersConfig if registers else transformers.Dinov2Config)(**sizes)
    out = tmp_path_factory.mktemp("dino") / request.param
    (transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model)(config).save_pretrained(out)
    return out


def test_features_lie_on_the_grid_of_the_tokens(folder: Path) -> None:
    features = load_dinov2(str(folder))
    features.smallest = 4
    images = torch.rand(2, 3, 3, 32, 48)
    out = features.encode(images, 2, 3)
    assert features.channels == 24
    assert out.shape == (2, 3, 6, 24)
    assert torch.allclose(out[1, 2], features.encode(images[1:, 2:], 2, 3)[0, 0], atol=1e-5)
    assert not out.requires_grad


def test_the_patch_tokens_are_taken_and_the_others_left(folder: Path) -> None:
    """With as many patches as tokens, features are the network's own last states behind class and registers."""
    features = load_dinov2(str(folder))
    features.smallest = 1
    image = torch.rand(1, 1, 3, 28, 42)  # two by three patches: nothing is resized
    normed = (image[0] - features.mean) / features.deviation
    states = features.network(pixel_values=normed).last_hidden_state
    assert torch.allclose(features.encode(image, 2, 3)[0], states[:, -6:], atol=1e-5)


def test_few_tokens_still_see_an_image_of_the_size_dino_knows(folder: Path) -> None:
    features = load_dinov2(str(folder))
    seen: list[tuple[int, ...]] = []
    features.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["pixel_values"].shape)), with_kwargs=True
    )
    assert features.encode(torch.rand(1, 1, 3, 64, 64), 8, 8).shape == (1, 1, 64, 24)
    assert seen == [(1, 3, 16 * 14, 16 * 14)]


def test_the_null_encoder_has_nothing() -> None:
    features = build_features("none")
    assert isinstance(features, NoFeatures)
    assert features.channels == 0
    assert features.encode(torch.rand(1, 1, 3, 16, 16), 2, 2) is None


def test_what_is_no_dinov2_is_refused(tmp_path: Path) -> None:
    transformers = import_transformers()
    with pytest.raises(ValueError, match="expected none or dinov2"):
        build_features("clip")
    with pytest.raises(ValueError, match=r"config\.json"):
        build_features(f"dinov2:{tmp_path / 'nowhere'}")
    transformers.ViTConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="'vit'"):
        build_features(f"dinov2:{tmp_path / 'vit'}")


def test_weights_that_lack_tensors_are_refused(folder: Path, tmp_path: Path) -> None:
    """A network with some random layers would pass for one with poor features."""
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[-1])
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lack 1 tensors"):
        load_dinov2(str(tmp_path))


def test_a_grid_of_another_shape_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="square"):
        load_dinov2(str(folder)).encode(torch.rand(1, 1, 3, 32, 32), 2, 3)


def test_without_transformers_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"kaleido-bench\[features\]"):
        build_features("dinov2:somewhere")


def test_a_network_in_half_precision_gives_back_the_images_type(folder: Path) -> None:
    loaded = load_dinov2(str(folder))
    half = DinoV2("half", loaded.network.bfloat16())
    assert half.encode(torch.rand(1, 1, 3, 32, 32), 16, 16).dtype == torch.float32
