"""What `scoring.py` is compared with: other people's metrics, called as papers' scripts call them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from scoring_pairs import CONVENTION, Pair, to_float, to_tensor

from kaleido_bench.score.metrics import scorers
from kaleido_bench.score.metrics.ssim import score_ssim
from kaleido_bench.score.metrics.ssim_torch import average_ssim
from kaleido_bench.score.metrics.weights import WeightsFile


def build_torchmetrics(network: Callable[..., torch.Tensor]) -> Callable[[Pair], object]:
    """(a): torchmetrics' PSNR and SSIM, the lpips package, one image at a time."""
    functional = import_oracle("torchmetrics.functional.image")

    def score(pair: Pair) -> object:
        prediction, truth = to_tensor(pair.prediction), to_tensor(pair.truth)
        with torch.no_grad():
            return (
                functional.peak_signal_noise_ratio(prediction, truth, data_range=1.0).item(),
                functional.structural_similarity_index_measure(prediction, truth, data_range=1.0).item(),
                network(prediction, truth, normalize=True).item(),
            )

    return score


def build_skimage(network: Callable[..., torch.Tensor]) -> Callable[[Pair], object]:
    """(b): scikit-image's PSNR and SSIM as pixelSplat calls it, the lpips package, one image at a time."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    def score(pair: Pair) -> object:
        prediction, truth = to_float(pair.prediction), to_float(pair.truth)
        tensors = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (prediction, truth))
        with torch.no_grad():
            return (
                peak_signal_noise_ratio(truth, prediction, data_range=1.0),
                structural_similarity(
                    truth, prediction, win_size=11, gaussian_weights=True, channel_axis=-1, data_range=1.0
                ),
                network(*tensors, normalize=True).item(),
            )

    return score


def load_nerfbaselines(folder: Path, network: torch.nn.Module) -> ModuleType:
    """Its metrics.py, by itself, with the lpips package's network where it would fetch one."""
    spec = importlib.util.spec_from_file_location("nerfbaselines_metrics", folder / "nerfbaselines" / "metrics.py")
    if spec is None or spec.loader is None:
        sys.exit(f"no metrics.py in {folder}/nerfbaselines")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._LPIPS_CACHE["alex"] = network
    return module


def build_nerfbaselines(module: ModuleType) -> Callable[[Pair], object]:
    """(c): nerfbaselines/evaluation.py:compute_metrics, which also takes MAE."""

    def score(pair: Pair) -> object:
        prediction, truth = to_float(pair.prediction)[None], to_float(pair.truth)[None]
        error = module.mse(prediction, truth)
        return (
            module.psnr(error),
            module.ssim(truth, prediction),
            module.mae(truth, prediction),
            module.lpips(truth, prediction),
        )

    return score


def import_oracle(name: str) -> ModuleType:
    from kaleido_bench.score.metrics.oracles import import_repaired

    return import_repaired(name)


@contextlib.contextmanager
def _trunk_home() -> Iterator[None]:
    """A TORCH_HOME from which torchvision builds AlexNet with our trunk, so that nothing is fetched."""
    from safetensors.torch import load_file

    weights = scorers.find_weights("alexnet_features")
    if not isinstance(weights, WeightsFile):
        sys.exit(str(weights.error()))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        state = load_file(weights.path)
        for index, shape in ((1, (4096, 9216)), (4, (4096, 4096)), (6, (1000, 4096))):
            state[f"classifier.{index}.weight"] = torch.zeros(1).expand(shape)
            state[f"classifier.{index}.bias"] = torch.zeros(shape[0])
        torch.save(state, folder / "alexnet-owt-7be5be79.pth")
        before = os.environ.get("TORCH_HOME")
        os.environ["TORCH_HOME"] = home
        try:
            yield
        finally:
            os.environ.pop("TORCH_HOME") if before is None else os.environ.__setitem__("TORCH_HOME", before)


def build_ssim_peers(nerfbaselines: ModuleType | None) -> dict[str, Callable[[Pair], Callable[[], float]]]:
    """Name -> what prepares a pair in the peer's own types, and gives the call that is timed."""
    from skimage.metrics import structural_similarity

    peers: dict[str, Callable[[Pair], Callable[[], float]]] = {}

    def on_tensors(function: Callable[..., torch.Tensor], **options: object) -> Callable[[Pair], Callable[[], float]]:
        return lambda pair: (
            lambda x=to_tensor(pair.prediction), y=to_tensor(pair.truth): function(x, y, **options).item()
        )

    def on_arrays(function: Callable[..., float], **options: object) -> Callable[[Pair], Callable[[], float]]:
        return lambda pair: lambda x=to_float(pair.prediction), y=to_float(pair.truth): float(function(y, x, **options))

    peers["ours"] = on_tensors(partial(score_ssim, recipe=CONVENTION.ssim))
    peers["ours, plain twin"] = on_tensors(partial(score_ssim, recipe=CONVENTION.ssim, average=average_ssim))
    peers["scikit-image"] = on_arrays(
        structural_similarity,
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    functional = import_oracle("torchmetrics.functional.image")
    peers["torchmetrics"] = on_tensors(functional.structural_similarity_index_measure, data_range=1.0)
    if importlib.util.find_spec("pytorch_msssim"):
        peers["pytorch-msssim"] = on_tensors(import_oracle("pytorch_msssim").ssim, data_range=1.0)
    if importlib.util.find_spec("piqa"):
        peers["piqa"] = on_tensors(import_oracle("piqa").SSIM(reduction="none"))
    if importlib.util.find_spec("kornia"):
        kornia = import_oracle("kornia.metrics")
        peers["kornia"] = on_tensors(lambda x, y: kornia.ssim(x, y, 11, padding="valid").mean())
    if nerfbaselines is not None:
        peers["nerfbaselines"] = on_arrays(lambda y, x: nerfbaselines.ssim(y[None], x[None])[0])
    return peers


def build_lpips_package() -> torch.nn.Module:
    lpips = import_oracle("lpips")
    with _trunk_home():
        return lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
