"""The figures of `diagnostics.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_model.diagnostics import AttentionMap, Magnitude, Sample

COLOURS = {"reference": "#2a6f97", "target": "#c8553d", "register": "#588157"}


def plot_activations(reports: dict[str, dict[int, list[Magnitude]]]) -> Any:
    """Magnitudes by layer: a row of panels for each checkpoint, a column for each size; one scale for all."""
    import matplotlib.pyplot as plt

    sizes = sorted({size for report in reports.values() for size in report})
    figure, axes = plt.subplots(
        len(reports), len(sizes), figsize=(3.4 * len(sizes) + 1, 2.7 * len(reports) + 0.6),
        sharex="row", sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, (name, report) in zip(axes, reports.items(), strict=True):
        for axis, size in zip(line, sizes, strict=True):
            for kind, colour in COLOURS.items():
                rows = [row for row in report.get(size, []) if row.kind == kind]
                places = [i + 1 for i in range(len(rows))]
                axis.plot(places, [row.largest for row in rows], color=colour, marker="o", ms=3, label=f"{kind}, max")
                axis.plot(places, [row.median for row in rows], color=colour, ls="--", lw=1, label=f"{kind}, median")
            axis.set_yscale("log")
            axis.grid(alpha=0.25)
            axis.set_title(f"{name}, {size} px", fontsize=9)
            axis.set_xlabel("after block", fontsize=8)
        line[0].set_ylabel("magnitude", fontsize=8)
    used = {kind for report in reports.values() for rows in report.values() for kind in {row.kind for row in rows}}
    handles, labels = axes[0][0].get_legend_handles_labels()
    kept = [(h, label) for h, label in zip(handles, labels, strict=True) if label.split(",")[0] in used]
    figure.legend(*zip(*kept, strict=True), loc="outside upper center", ncols=len(kept), fontsize=8, frameon=False)
    return figure


def plot_attention(sample: Sample, maps: list[AttentionMap], view: int, patch: int, patch_size: int) -> Any:
    """The views, then a row for each layer: each view's image under its share of the patch's attention."""
    import matplotlib.pyplot as plt

    images, references = sample.images[0].permute(0, 2, 3, 1).cpu().numpy(), sample.views.references
    size = images.shape[1]
    side = size // patch_size
    figure, axes = plt.subplots(
        1 + len(maps), len(images), figsize=(1.45 * len(images) + 0.6, 1.6 * (1 + len(maps)) + 0.4), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    row, column = divmod(patch, side)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for i, (axis, image) in enumerate(zip(axes[0], images, strict=True)):
        axis.imshow(image)
        axis.set_title(f"{'reference' if i < references else 'target'} {i}", fontsize=8)
    axes[0][view].add_patch(
        plt.Rectangle((column * patch_size, row * patch_size), patch_size, patch_size, fill=False, ec="red", lw=1.5)
    )
    for line, found in zip(axes[1:], maps, strict=True):
        top = found.weights[:, : side**2].max().item()
        for axis, image, weights, mass in zip(line, images, found.weights, found.mass, strict=True):
            heat = weights[: side**2].reshape(side, side).numpy()
            axis.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=2)
            axis.imshow(heat, cmap="inferno", alpha=0.75, extent=(0, size, size, 0), vmin=0, vmax=top)
            axis.set_xlabel(f"{100 * mass:.0f} %", fontsize=8, labelpad=1)
        line[0].set_ylabel(found.layer.removesuffix(".temporal"), fontsize=8)
    figure.suptitle("where the marked target patch looks, and how much of its attention each view gets", fontsize=9)
    return figure
