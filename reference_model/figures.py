"""The figures of `diagnostics.py`, drawn from the files it writes: machines with GPUs need no matplotlib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"reference": "#2a6f97", "target": "#c8553d", "register": "#588157"}

Report = dict[int, list[dict[str, Any]]]
"""Of one model, by image size: the rows of diagnostics.Magnitude."""


class AttentionReport(NamedTuple):
    """Where one patch of the first target looks, over all views, in each layer."""

    images: UInt8[np.ndarray, "v size size 3"]
    weights: Float[np.ndarray, "layer v n"]  # registers last in each view; of a layer they sum to 1
    layers: tuple[str, ...]
    references: int  # the first so many views; the patch is of the view behind them
    patch: int
    patch_size: int

    def write(self, folder: Path, name: str) -> None:
        np.savez_compressed(folder / f"attention-{name}.npz", **self._asdict())  # pyright: ignore[reportArgumentType]


def load_attention(path: Path) -> AttentionReport:
    with np.load(path) as file:
        layers = tuple(str(layer) for layer in file["layers"])
        numbers = (int(file[name]) for name in ("references", "patch", "patch_size"))
        return AttentionReport(file["images"], file["weights"], layers, *numbers)


def draw_figures(folder: Path) -> list[Path]:
    """activations.png and attention-NAME.png of the numbers in a folder; the paths written.

    Raises FileNotFoundError where it holds none.
    """
    numbers = folder / "activations.json"
    if not numbers.is_file():
        raise FileNotFoundError(
            f"{numbers} is not there: `python -m reference_model.diagnostics CHECKPOINT... --out {folder}` writes it"
        )
    import matplotlib

    matplotlib.use("Agg")
    reports: dict[str, Report] = {
        name: {int(size): rows for size, rows in report.items()}
        for name, report in json.loads(numbers.read_text()).items()
    }
    maps = {name: load_attention(path) for name in reports if (path := folder / f"attention-{name}.npz").is_file()}
    drawn = [folder / "activations.png"]
    plot_activations(reports, {name: found.images.shape[1] for name, found in maps.items()}).savefig(drawn[0], dpi=130)
    for name, found in maps.items():
        drawn.append(folder / f"attention-{name}.png")
        plot_attention(found).savefig(drawn[-1], dpi=110)
    return drawn


def plot_layers(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """The largest magnitude and the median after each block, by kind of token."""
    from matplotlib.ticker import MaxNLocator

    for kind, colour in COLOURS.items():
        own = [row for row in rows if row["kind"] == kind]
        places = [i + 1 for i in range(len(own))]
        axis.plot(places, [row["largest"] for row in own], color=colour, marker="o", ms=3, label=f"{kind}, max")
        axis.plot(places, [row["median"] for row in own], color=colour, ls="--", lw=1, label=f"{kind}, median")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("after block", fontsize=8)


def largest_by_size(report: Report, kind: str) -> dict[int, float]:
    """The largest magnitude in any layer, for the sizes at which there are such tokens."""
    tops = {size: [row["largest"] for row in rows if row["kind"] == kind] for size, rows in sorted(report.items())}
    return {size: max(values) for size, values in tops.items() if values}


def plot_growth(axis: Axes, reports: dict[str, Report], name: str, trained: int | None) -> None:
    """The largest magnitude in any layer against the side of the image, by kind of token; the other checkpoints in
    grey; sizes above the one it was trained at shaded.
    """
    sizes = sorted(reports[name])
    for other in (report for key, report in reports.items() if key != name):
        for kind in COLOURS:
            known = largest_by_size(other, kind)
            axis.plot(list(known), list(known.values()), color="#bbbbbb", lw=1, zorder=1)
    for kind, colour in COLOURS.items():
        known = largest_by_size(reports[name], kind)
        axis.plot(list(known), list(known.values()), color=colour, marker="o", ms=3, zorder=2)
    if trained is not None and trained < sizes[-1]:
        edge = trained * 2**0.5
        axis.axvspan(edge, sizes[-1] * 2**0.25, color="#f3f3ee", zorder=0)
        axis.text(0.985, 0.02, "larger than trained", transform=axis.transAxes, fontsize=7, color="#777777", ha="right",
                  va="bottom")  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xlim(sizes[0] / 2**0.25, sizes[-1] * 2**0.25)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.set_xlabel("image side, px", fontsize=8)


def plot_activations(reports: dict[str, Report], trained: dict[str, int]) -> Figure:
    """Magnitudes by layer: a row of panels for each checkpoint, a column for each size, and one for the growth with
    size; one scale for all.

    Args:
        trained: sides of the images that checkpoints were trained at last, where known.
    """
    import matplotlib.pyplot as plt

    sizes = sorted({size for report in reports.values() for size in report})
    figure, axes = plt.subplots(
        len(reports), len(sizes) + 1, figsize=(2.9 * len(sizes) + 3.6, 2.7 * len(reports) + 0.7),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, (name, report) in zip(axes, reports.items(), strict=True):
        for axis, size in zip(line[:-1], sizes, strict=True):
            plot_layers(axis, report.get(size, []))
            axis.set_title(f"{name}, {size} px", fontsize=9)
        plot_growth(line[-1], reports, name, trained.get(name))
        others = "; grey: others" if len(reports) > 1 else ""
        line[-1].set_title(f"{name}, any layer{others}", fontsize=9)
        for axis in line:
            axis.set_yscale("log")
            axis.grid(alpha=0.25)
            axis.tick_params(labelsize=7)
        line[0].set_ylabel("|residual stream|", fontsize=8)
    used = {row["kind"] for report in reports.values() for rows in report.values() for row in rows}
    handles, labels = axes[0][0].get_legend_handles_labels()
    kept = [(h, label) for h, label in zip(handles, labels, strict=True) if label.split(",")[0] in used]
    figure.legend(*zip(*kept, strict=True), loc="outside upper center", ncols=len(kept), fontsize=8, frameon=False)
    return figure


def name_layer(layer: str) -> str:
    """`block 1` for blocks.0.temporal: counted as in the other figure."""
    number = next((part for part in layer.split(".") if part.isdigit()), None)
    return layer if number is None else f"block {int(number) + 1}"


def plot_attention(report: AttentionReport) -> Figure:
    """The views, then a row for each layer: each view, pale, under its share of the patch's attention. Opacity goes
    with the root of the weight over the layer's largest: what gets a hundredth is seen too.
    """
    import matplotlib.pyplot as plt

    images, weights, patch_size = report.images / 255, report.weights, report.patch_size
    size = images.shape[1]
    side = size // patch_size
    figure, axes = plt.subplots(
        1 + len(weights), len(images), figsize=(1.45 * len(images) + 0.6, 1.62 * (1 + len(weights)) + 0.4),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    row, column = divmod(report.patch, side)
    corner = (column * patch_size - 0.5, row * patch_size - 0.5)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for i, (axis, image) in enumerate(zip(axes[0], images, strict=True)):
        axis.imshow(image)
        axis.set_title(f"{'reference' if i < report.references else 'target'} {i + 1}", fontsize=8)
    for axis in axes[:, report.references]:
        axis.add_patch(plt.Rectangle(corner, patch_size, patch_size, fill=False, ec="#0a9396", lw=1.5))
    for line, layer, found in zip(axes[1:], report.layers, weights, strict=True):
        top = found[:, : side**2].max()
        for axis, image, view in zip(line, images, found, strict=True):
            axis.imshow(0.55 + 0.45 * image.mean(-1), cmap="gray", vmin=0, vmax=1)
            heat = np.sqrt(view[: side**2].reshape(side, side) / max(top, 1e-12))
            axis.imshow(np.full_like(heat, 0.75), cmap="Reds", alpha=heat, extent=(-0.5, size - 0.5, size - 0.5, -0.5),
                        vmin=0, vmax=1)  # fmt: skip
            kept = f" (registers {100 * view[side**2 :].sum():.0f})" if len(view) > side**2 else ""
            axis.set_xlabel(f"{100 * view.sum():.0f} %{kept}", fontsize=7.5, labelpad=1)
        line[0].set_ylabel(name_layer(layer), fontsize=8)
    figure.suptitle(
        "where the framed patch of the first target looks, and how much of its attention each view gets", fontsize=9
    )
    return figure
