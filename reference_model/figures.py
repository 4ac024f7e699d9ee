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
    drawn = [folder / "activations.png"]
    plot_activations(reports).savefig(drawn[0], dpi=130)
    for name in reports:
        found = folder / f"attention-{name}.npz"
        if found.is_file():
            plot_attention(load_attention(found)).savefig(found.with_suffix(".png"), dpi=110)
            drawn.append(found.with_suffix(".png"))
    return drawn


def plot_layers(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """The largest magnitude and the median after each block, by kind of token."""
    for kind, colour in COLOURS.items():
        own = [row for row in rows if row["kind"] == kind]
        places = [i + 1 for i in range(len(own))]
        axis.plot(places, [row["largest"] for row in own], color=colour, marker="o", ms=3, label=f"{kind}, max")
        axis.plot(places, [row["median"] for row in own], color=colour, ls="--", lw=1, label=f"{kind}, median")
    axis.set_xlabel("after block", fontsize=8)


def plot_growth(axis: Axes, report: Report) -> None:
    """The largest magnitude in any layer, by kind of token, against the side of the image."""
    for kind, colour in COLOURS.items():
        tops = {size: [row["largest"] for row in rows if row["kind"] == kind] for size, rows in sorted(report.items())}
        known = {size: max(values) for size, values in tops.items() if values}
        axis.plot(list(known), list(known.values()), color=colour, marker="o", ms=3)
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted(report), [str(size) for size in sorted(report)])
    axis.set_xlabel("image side in px", fontsize=8)


def plot_activations(reports: dict[str, Report]) -> Figure:
    """Magnitudes by layer: a row of panels for each checkpoint, a column for each size, and one for the growth with
    size; one scale for all.
    """
    import matplotlib.pyplot as plt

    sizes = sorted({size for report in reports.values() for size in report})
    figure, axes = plt.subplots(
        len(reports), len(sizes) + 1, figsize=(3.2 * len(sizes) + 4, 2.7 * len(reports) + 0.6),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, (name, report) in zip(axes, reports.items(), strict=True):
        for axis, size in zip(line[:-1], sizes, strict=True):
            plot_layers(axis, report.get(size, []))
            axis.set_title(f"{name}, {size} px", fontsize=9)
        plot_growth(line[-1], report)
        line[-1].set_title(f"{name}, largest of all layers", fontsize=9)
        for axis in line:
            axis.set_yscale("log")
            axis.grid(alpha=0.25)
        line[0].set_ylabel("magnitude", fontsize=8)
    used = {row["kind"] for report in reports.values() for rows in report.values() for row in rows}
    handles, labels = axes[0][0].get_legend_handles_labels()
    kept = [(h, label) for h, label in zip(handles, labels, strict=True) if label.split(",")[0] in used]
    figure.legend(*zip(*kept, strict=True), loc="outside upper center", ncols=len(kept), fontsize=8, frameon=False)
    return figure


def plot_attention(report: AttentionReport) -> Figure:
    """The views, then a row for each layer: each view's image under its share of the patch's attention."""
    import matplotlib.pyplot as plt

    images, weights, patch_size = report.images / 255, report.weights, report.patch_size
    size = images.shape[1]
    side = size // patch_size
    figure, axes = plt.subplots(
        1 + len(weights), len(images), figsize=(1.45 * len(images) + 0.6, 1.6 * (1 + len(weights)) + 0.4),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    row, column = divmod(report.patch, side)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for i, (axis, image) in enumerate(zip(axes[0], images, strict=True)):
        axis.imshow(image)
        axis.set_title(f"{'reference' if i < report.references else 'target'} {i}", fontsize=8)
    corner = (column * patch_size, row * patch_size)
    axes[0][report.references].add_patch(plt.Rectangle(corner, patch_size, patch_size, fill=False, ec="red", lw=1.5))
    for line, layer, found in zip(axes[1:], report.layers, weights, strict=True):
        top = found[:, : side**2].max()
        for axis, image, view in zip(line, images, found, strict=True):
            axis.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=2)
            heat = view[: side**2].reshape(side, side)
            axis.imshow(heat, cmap="inferno", alpha=0.75, extent=(0, size, size, 0), vmin=0, vmax=top)
            axis.set_xlabel(f"{100 * view.sum():.0f} %", fontsize=8, labelpad=1)
        line[0].set_ylabel(layer.removesuffix(".temporal"), fontsize=8)
    figure.suptitle("where the marked target patch looks, and how much of its attention each view gets", fontsize=9)
    return figure
