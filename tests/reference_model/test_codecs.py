"""Tokens hold the image: pixels exactly, an autoencoder's latents as well as its published quality says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kaleido_bench.score.metrics.oracles import repair_torchvision
from reference_model.codecs import Autoencoder, Codec, Scaling, build_codec, fold, load_taef2, unfold
from reference_model.config import Preset
from reference_model.presets import large, latent
from reference_model.tiny_autoencoder import TinyAutoencoder

FOX = ("0001", "0021", "0042", "0078")


def photographs(size: int, data_dir: Path | None = None) -> Tensor:
    """Photographs that come with scikit-image, and with `data_dir` those beside them in the autoencoder's own test:
    four of a fox and one of matplotlib's. Centre crop, then Lanczos: [photo, 3, size, size] in [0, 1].
    """
    data = pytest.importorskip("skimage.data")
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.stereo_motorcycle()[0]]
    if data_dir is not None:
        cbook = pytest.importorskip("matplotlib.cbook")
        photos += [np.array(Image.open(data_dir / "scenes" / "fox" / "images" / f"{name}.jpg")) for name in FOX]
        photos.append(np.array(Image.open(cbook.get_sample_data("grace_hopper.jpg"))))
    images: list[Tensor] = []
    for photo in photos:
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        crop = Image.fromarray(photo[top : top + side, left : left + side])
        small = np.array(crop.resize((size, size), Image.Resampling.LANCZOS))
        images.append(torch.from_numpy(small).permute(2, 0, 1) / 255)
    return torch.stack(images)


def mean_psnr(images: Tensor, codec: Codec) -> float:
    size = images.shape[-1]
    out = codec.decode(codec.encode(images), size, size).clamp(0, 1)
    return (-10 * torch.log10((out - images).square().flatten(1).mean(1))).mean().item()


@pytest.mark.parametrize(("size", "patch", "psnr"), [(128, 8, 28.59), (256, 16, 31.24)])
def test_taef2_reaches_its_quality_on_real_photographs(
    size: int, patch: int, psnr: float, weights_dir: Path, data_dir: Path
) -> None:
    """The mean over ten photographs that was measured beside the weights (which four frames of the fox is not said)."""
    codec = load_taef2(patch, weights_dir / "taef2")
    assert mean_psnr(photographs(size, data_dir), codec) == pytest.approx(psnr, abs=0.3)


@pytest.mark.parametrize(("codec", "patch", "channels"), [("pixels", 8, 192), ("taef2", 8, 32), ("taef2", 16, 128)])
def test_tokens_are_cut_row_by_row_for_any_leading_axes(
    codec: str, patch: int, channels: int, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBENCH_WEIGHTS", str(weights_dir))
    built = build_codec(codec, patch)
    images = torch.rand(2, 3, 3, 32, 48)
    tokens = built.encode(images)
    assert built.channels == channels
    assert built.patch == patch
    assert tokens.shape == (2, 3, 32 * 48 // patch**2, channels)
    assert torch.allclose(tokens[1, 2], built.encode(images[1, 2]), atol=1e-5)
    assert built.decode(tokens, 32, 48).shape == images.shape
    moved = images.clone()
    moved[..., :patch, patch : 2 * patch] = 1 - moved[..., :patch, patch : 2 * patch]
    changed = (built.encode(moved) - tokens).square().mean((0, 1, 3))
    assert changed.argmax() == 1  # the second square of the first row


def test_folding_turns_back() -> None:
    maps = torch.randn(2, 5, 6, 8)
    assert torch.equal(unfold(fold(maps, 2), 2, 6, 8), maps)


def test_latents_have_the_size_of_noise(weights_dir: Path) -> None:
    """Flow from unit noise expects data of about unit size."""
    latents = load_taef2(8, weights_dir / "taef2").encode(photographs(64))
    assert latents.std().item() == pytest.approx(0.9, abs=0.15)
    assert abs(latents.mean().item()) < 0.15


def test_scaling_is_undone_and_enters_the_fingerprint() -> None:
    torch.manual_seed(0)
    network = TinyAutoencoder()
    plain, scaled = (
        Autoencoder("x", network, network.encode, network.decode, latent=32, factor=8, patch=8, scaling=scaling)
        for scaling in (Scaling(), Scaling(2.0, 0.5))
    )
    images = torch.rand(1, 3, 16, 16)
    assert torch.allclose(scaled.encode(images), (plain.encode(images) - 0.5) * 2)
    assert torch.allclose(
        scaled.decode(scaled.encode(images), 16, 16), plain.decode(plain.encode(images), 16, 16), atol=1e-5
    )
    assert plain.fingerprint != scaled.fingerprint
    next(network.parameters()).data[0] += 1
    assert (
        plain.fingerprint
        != Autoencoder("x", TinyAutoencoder(), network.encode, network.decode, latent=32, factor=8, patch=8).fingerprint
    )


def test_no_gradient_reaches_the_autoencoder() -> None:
    network = TinyAutoencoder()
    codec = Autoencoder("x", network, network.encode, network.decode, latent=32, factor=8, patch=8)
    assert not codec.encode(torch.rand(1, 3, 8, 8, requires_grad=True)).requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("preset", [latent, large])
def test_the_latent_presets_fit_their_codec(
    preset: Callable[[], Preset], weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBENCH_WEIGHTS", str(weights_dir))
    config = preset().model
    assert config.codec == "taef2"
    assert build_codec(config.codec, config.patch).channels == config.channels


@pytest.mark.parametrize(
    ("name", "patch", "error", "word"),
    [
        ("jpeg", 8, ValueError, "expected pixels"),
        ("kl:", 8, ValueError, "FOLDER_OR_ID"),
        ("taef2", 8, FileNotFoundError, "KBENCH_WEIGHTS"),
    ],
)
def test_codecs_that_are_not_there_are_named(
    name: str, patch: int, error: type[Exception], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(error, match=word):
        build_codec(name, patch)


def test_a_token_or_an_image_that_does_not_divide_is_refused(weights_dir: Path) -> None:
    with pytest.raises(ValueError, match="multiple"):
        load_taef2(12, weights_dir / "taef2")
    with pytest.raises(ValueError, match="20x20"):
        load_taef2(8, weights_dir / "taef2").encode(torch.rand(1, 3, 20, 20))


def test_without_diffusers_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"kaleido-bench\[codecs\]"):
        build_codec("kl:somewhere", 8)


def test_diffusers_autoencoders_load_from_a_folder(tmp_path: Path) -> None:
    """Random weights, written and read as real ones are; scale and shift from their config."""
    pytest.importorskip("diffusers")
    repair_torchvision()
    import diffusers

    torch.manual_seed(0)
    small: dict[str, object] = {
        "block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 4, "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
        "scaling_factor": 0.3611, "shift_factor": 0.1159,
    }  # fmt: skip
    diffusers.AutoencoderKL(**small).save_pretrained(tmp_path / "kl")
    diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    ).save_pretrained(tmp_path / "tiny")  # fmt: skip
    images = torch.rand(1, 2, 3, 16, 16)
    for name in ("kl", "tiny"):
        codec = build_codec(f"{name}:{tmp_path / name}", 4)
        assert isinstance(codec, Autoencoder)
        assert codec.channels == 4 * 2 * 2  # a latent covers two pixels: two by two of them are a token
        tokens = codec.encode(images)
        assert tokens.shape == (1, 2, 16, 16)
        assert codec.decode(tokens, 16, 16).shape == images.shape
    kl = build_codec(f"kl:{tmp_path / 'kl'}", 2)
    assert isinstance(kl, Autoencoder)
    raw = kl.network.encode(images[0] * 2 - 1).latent_dist.mode()
    assert torch.allclose(kl.encode(images[0]), fold((raw - 0.1159) * 0.3611, 1), atol=1e-5)
    assert json.loads((tmp_path / "kl" / "config.json").read_text())["shift_factor"] == 0.1159
