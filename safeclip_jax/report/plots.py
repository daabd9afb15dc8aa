"""The plots of a run's report, each as an SVG string."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from safeclip_jax.defenses import pool_files, pools, ranking

SAFE, RISKY, POISON, NEUTRAL = "#2a78b5", "#d98a29", "#b3261e", "#777777"
PALETTE = (SAFE, RISKY, "#8a6fb0", "#2b8a57", "#c9b8a0", POISON, "#101418")
MAX_PANELS = 36

matplotlib.rcParams.update({
    "svg.hashsalt": "safeclip_jax",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are data: a dollar is a dollar
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
})  # fmt: skip


def losses(metrics: Sequence[dict], steps_in_all: int) -> str:
    """Loss of every kind of stage over the steps."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    lines = [line for line in metrics if line.get("kind") == "train"]
    for stage in dict.fromkeys(line["stage"] for line in lines):
        points = [(line["step"], line["loss"]) for line in lines if line["stage"] == stage]
        axes.plot(*zip(*points, strict=True), ".", markersize=4, label=stage)
    axes.set(xlabel="step", ylabel="loss (nats)", xlim=(0, max(steps_in_all, 1)))
    if lines:
        axes.legend(frameon=False)
    return as_svg(figure)


def similarities(files: Sequence[Path], poisons: np.ndarray) -> str:
    """For each epoch: histogram of the scores, the fitted mixture, and the poisons."""
    if len(files) > MAX_PANELS:
        files = [files[i] for i in np.linspace(0, len(files) - 1, MAX_PANELS).round().astype(int)]
    columns = min(4, len(files))
    rows = -(-len(files) // columns)
    figure = Figure(figsize=(10, 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, file in zip(panels, files, strict=False):
        _panel(panel, pool_files.load(file), poisons)
        panel.set_title(f"epoch {int(file.stem.split('_')[1]) + 1}", fontsize=9)
    for panel in panels[len(files) :]:
        panel.axis("off")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return as_svg(figure)


def _panel(axes, split: pools.Pools, poisons: np.ndarray) -> None:
    ends = np.array([np.nanmin(split.scores), np.nanmax(split.scores)])
    edges = np.histogram_bin_edges(ends, 60)
    width = edges[1] - edges[0]
    for name, pool, color in (("safe", True, SAFE), ("risky", False, RISKY)):
        counts = np.zeros(len(edges) - 1, int)
        for part in ranking.parts(len(split.scores)):
            scores = split.scores[part][split.is_safe[part] == pool]
            counts += np.histogram(scores[~np.isnan(scores)], edges)[0]
        axes.hist(edges[:-1], edges, weights=counts, color=color, alpha=0.6, label=name)
    if split.mixture is not None:
        x = np.linspace(edges[0], edges[-1], 300)
        curve = (
            split.mixture.density(x).sum(axis=0) * np.count_nonzero(~np.isnan(split.scores)) * width
        )
        axes.plot(x, curve, color="black", linewidth=0.8, label="mixture")
    if len(poisons):
        axes.vlines(
            split.scores[poisons], 0, 0.12, transform=axes.get_xaxis_transform(), color=POISON,
            linewidth=0.6, label="poisons",
        )  # fmt: skip
    axes.set_yticks([])


def pool_sizes(metrics: Sequence[dict], poisons: int) -> str:
    """Size of the safe pool and the poisons in it, over the epochs."""
    lines = [line for line in metrics if line.get("kind") == "pools"]
    epochs = [line["epoch"] + 1 for line in lines]
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [line["safe_pool_size"] for line in lines], color=SAFE)
    left.set(xlabel="epoch", ylabel="pairs in the safe pool", ylim=(0, None))
    if poisons:
        right.plot(epochs, [line["poisons_in_safe_pool"] for line in lines], color=POISON)
        right.set(xlabel="epoch", ylabel=f"of {poisons} poisons in it", ylim=(0, None))
    else:
        right.axis("off")
    return as_svg(figure)


def evaluations(metrics: Sequence[dict]) -> str:
    """Accuracy, the attack's success and its base rate over the epochs, where measured."""
    lines = [line for line in metrics if line.get("kind") == "evaluation"]
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, color in (
        ("zero_shot_accuracy", SAFE),
        ("attack_success_rate", POISON),
        ("target_base_rate", NEUTRAL),
        ("poison_success_rate", POISON),
        ("poison_base_rate", NEUTRAL),
    ):
        points = [(line["epoch"] + 1, 100 * line[name]) for line in lines if line[name] is not None]
        if points:
            label = name.replace("_", " ")
            axes.plot(*zip(*points, strict=True), "o-", color=color, label=label)
    axes.set(xlabel="epoch", ylabel="%", ylim=(0, 101))
    axes.legend(frameon=False)
    return as_svg(figure)


def confusion(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Confusion matrix in shares of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(9.0, 2 + 0.4 * len(class_names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=90)
    axes.set_yticks(ticks, class_names)
    axes.set(xlabel="predicted", ylabel="true")
    if len(class_names) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                color = "white" if share > 0.6 else "black"
                axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=color,
                          fontsize=7)  # fmt: skip
    return as_svg(figure)


def comparison(found: Mapping[str, Mapping[str, float]]) -> str:
    """Bars of shares: for each figure one a model.

    Args:
      found: for each figure, its value in [0, 1] by model.
    """
    models = list(dict.fromkeys(model for values in found.values() for model in values))
    thickness = 0.8 / max(len(models), 1)
    size = (8.0, 0.9 + len(found) * max(0.24, 0.17 * len(models)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(models):
        places = [i for i, values in enumerate(found.values()) if model in values]
        values = [100 * values[model] for values in found.values() if model in values]
        offset = (number - (len(models) - 1) / 2) * thickness
        color = PALETTE[number % len(PALETTE)]
        bars = axes.barh([p + offset for p in places], values, thickness, color=color, label=model)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set(xlabel="%", xlim=(0, 108))
    if len(models) > 1:
        figure.legend(loc="outside upper center", ncols=min(4, len(models)), frameon=False)
    return as_svg(figure)


def as_svg(figure: Figure) -> str:
    """The figure as one `<svg>` element, the same on every run."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
