"""LPIPS against the lpips package with the same trunk on real photographs, and what must hold of it by definition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from kaleido_bench.conventions import Convention, LpipsRecipe, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.lpips import Lpips
from kaleido_bench.score.metrics.oracles import import_repaired
from kaleido_bench.score.metrics.weights import WeightsFile, WeightsMissing, find_weights, read_heads

ALEX = next(recipe for recipe in load_convention("kbench-v1").lpips if recipe.net == "alex")
TRUNK_NAMES = {"alex": "alexnet_features", "squeeze": "squeezenet1_1_features", "vgg": "vgg16_features"}


def recipe_for(net: str, **fields: object) -> LpipsRecipe:
    trunk = {"name": TRUNK_NAMES[net], "sha256": None}
    return LpipsRecipe.model_validate(
        {**ALEX.model_dump(), "metric": f"lpips-{net}", "net": net, "trunk": trunk, **fields}
    )


def build(net: str, weights_dir: Path, **fields: object) -> Lpips:
    weights = find_weights(TRUNK_NAMES[net], {"KBENCH_WEIGHTS": str(weights_dir)})
    assert not isinstance(weights, WeightsMissing)
    return Lpips(recipe_for(net, **fields), weights)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_equals_the_lpips_package(real_pairs, weights_dir: Path, torch_home: Path, net: str) -> None:
    package = import_repaired("lpips")
    theirs, ours = package.LPIPS(net=net, version="0.1", verbose=False), build(net, weights_dir)
    for pair in real_pairs[::2]:
        prediction, truth = pair.tensors()
        with torch.inference_mode():
            expected = theirs(prediction, truth, normalize=True).item()
        assert ours.distance(prediction, truth).item() == pytest.approx(expected, abs=1e-6), pair.name


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_vgg_equals_the_lpips_package_with_a_random_trunk(real_pairs, tmp_path: Path) -> None:
    """No VGG16 weights are at hand; a trunk of random ones shows that every layer, tap and head is where it should be.

    The path is a user's: any vgg16_features.safetensors in torchvision's layout, known by its own sha256.
    """
    package = import_repaired("lpips")
    torch.manual_seed(0)
    theirs = package.LPIPS(net="vgg", version="0.1", pnet_rand=True, verbose=False)
    features = {
        f"features.{name.split('.', 1)[1]}": value
        for name, value in theirs.net.state_dict().items()
        if name.startswith("slice")
    }
    save_file(features, tmp_path / "vgg16_features.safetensors")
    ours = build("vgg", tmp_path)
    for pair in real_pairs[:15:5]:
        prediction, truth = pair.tensors()
        with torch.inference_mode():
            expected = theirs(prediction, truth, normalize=True).item()
        assert expected > 0
        assert ours.distance(prediction, truth).item() == pytest.approx(expected, abs=1e-6), pair.name


def test_torchmetrics_epsilon_is_another_recipe(real_pairs, weights_dir: Path, torch_home: Path) -> None:
    """torchmetrics adds 1e-8 inside the root; the recipe's `epsilon_place` says so, and is obeyed."""
    functional = import_repaired("torchmetrics.functional.image.lpips")
    theirs = functional._LPIPS(net="alex", pretrained=True, eval_mode=True)
    ours = build("alex", weights_dir, epsilon=1e-8, epsilon_place="inside-root")
    # A flat corner has features near zero, where the place of epsilon is visible.
    prediction, truth = (image.clone() for image in real_pairs[0].tensors())
    prediction[..., :64, :64], truth[..., :64, :64] = 0.5, 0.501
    with torch.inference_mode():
        expected = theirs(prediction, truth, normalize=True).item()
    assert ours.distance(prediction, truth).item() == pytest.approx(expected, abs=1e-6)


def test_the_input_range_is_obeyed(real_pairs, weights_dir: Path) -> None:
    """[0, 1] fed to the net, as 3DGS does, is half the contrast of [-1, 1] around a brighter grey."""
    prediction, truth = real_pairs[0].tensors()
    wrong = build("alex", weights_dir, input_range=(0.0, 1.0)).distance(prediction, truth)
    same = build("alex", weights_dir).distance((prediction + 1) / 2, (truth + 1) / 2)
    assert wrong.item() == pytest.approx(same.item(), abs=1e-6)
    assert abs(wrong.item() - build("alex", weights_dir).distance(prediction, truth).item()) > 1e-3


def test_identity_symmetry_and_order(real_pairs, weights_dir: Path) -> None:
    lpips = build("alex", weights_dir)
    prediction, truth = real_pairs[0].tensors()
    assert lpips.distance(truth, truth).item() == 0.0
    assert lpips.distance(prediction, truth).item() == pytest.approx(lpips.distance(truth, prediction).item(), abs=1e-7)
    values = [lpips.distance(truth.roll(shift, dims=-1), truth).item() for shift in (0, 1, 4, 16)]
    assert values == sorted(values)


def test_a_callers_autocast_does_not_reach_in(real_pairs, weights_dir: Path) -> None:
    lpips = build("alex", weights_dir)
    prediction, truth = real_pairs[0].tensors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = lpips.distance(prediction, truth)
    assert inside.dtype == torch.float32
    assert inside.item() == lpips.distance(prediction, truth).item()


def test_gives_one_value_a_pair(real_pairs, weights_dir: Path) -> None:
    lpips = build("alex", weights_dir)
    square = [pair.tensors() for pair in real_pairs if pair.truth.shape[:2] == (128, 128)][:4]
    together = lpips.distance(torch.cat([pair[0] for pair in square]), torch.cat([pair[1] for pair in square]))
    assert together.tolist() == pytest.approx([lpips.distance(*pair).item() for pair in square], abs=1e-6)


def test_heads_are_those_of_the_lpips_package() -> None:
    package = import_repaired("lpips")
    folder = Path(package.__file__).parent / "weights" / "v0.1"
    ours = load(read_heads())
    for net in TRUNK_NAMES:
        theirs = torch.load(folder / f"{net}.pth", map_location="cpu", weights_only=True)
        for tap, value in enumerate(theirs.values()):
            assert torch.equal(ours.pop(f"{net}.lin{tap}"), value.flatten())
    assert not ours


@pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("squeeze", 17)])
def test_refuses_images_smaller_than_the_trunk(weights_dir: Path, net: str, smallest: int) -> None:
    lpips = build(net, weights_dir)
    image = torch.rand(1, 3, smallest, smallest)
    assert torch.isfinite(lpips.distance(image, image.flip(-1))).all()
    with pytest.raises(BenchError, match=f"lpips-{net}: images {smallest - 1} px .*at least {smallest} px"):
        lpips.distance(image[..., 1:], image[..., 1:])


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_bfloat16_is_the_package_under_autocast(real_pairs, weights_dir: Path, torch_home: Path) -> None:
    """As LVSM scores it. Autocast takes the heads to bfloat16 too, whose answer has 8 bits: it is near, not equal."""
    theirs = import_repaired("lpips").LPIPS(net="alex", version="0.1", verbose=False)
    half, full = build("alex", weights_dir, dtype="bfloat16"), build("alex", weights_dir)
    gaps: list[float] = []
    for pair in real_pairs[:15:3]:
        prediction, truth = pair.tensors()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            expected = theirs(prediction, truth, normalize=True).item()
        found = half.distance(prediction, truth).item()
        assert found == pytest.approx(expected, rel=1.5e-2), pair.name
        gaps.append(abs(found - full.distance(prediction, truth).item()))
    assert 1e-5 < max(gaps) < 5e-3


@pytest.mark.parametrize(("field", "value"), [("version", "0.0")])
def test_refuses_what_it_cannot_do(weights_dir: Path, field: str, value: str) -> None:
    with pytest.raises(BenchError, match=f"lpips-alex.{field}.*{value}"):
        build("alex", weights_dir, **{field: value})


def test_refuses_other_weights_than_the_conventions(convention: Convention, weights_dir: Path) -> None:
    weights = find_weights("alexnet_features", {"KBENCH_WEIGHTS": str(weights_dir)})
    assert isinstance(weights, WeightsFile)
    with pytest.raises(BenchError, match=f"sha256 {'0' * 64}; expected sha256 26ddfade"):
        Lpips(ALEX, weights._replace(sha256="0" * 64))


def test_refuses_a_file_that_is_not_the_trunk(tmp_path: Path, weights_dir: Path) -> None:
    other = weights_dir / "lpips" / "squeezenet1_1_features.safetensors"
    with pytest.raises(BenchError, match=r"not a vgg trunk \('features\.2\.weight'\)"):
        Lpips(recipe_for("vgg"), WeightsFile(other, "0" * 64))
    noise = tmp_path / "vgg16_features.safetensors"
    noise.write_bytes(b"<html>404</html>")
    with pytest.raises(BenchError, match=r"not a vgg trunk.*kbench weights fetch"):
        Lpips(recipe_for("vgg"), WeightsFile(noise, "0" * 64))
