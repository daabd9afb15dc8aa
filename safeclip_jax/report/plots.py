"""The plots of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from safeclip_jax.defenses import pool_files, pools, ranking
from safeclip_jax.report import drawing, glossary
from safeclip_jax.report.drawing import (
    INK,
    NEUTRAL,
    PALETTE,
    POISON,
    RISKY,
    SAFE,
    VARIABLES,
    Panel,
    Plot,
)

MAX_PANELS = 12
_BINS = 60
_SHARES = (
    ("zero_shot_accuracy", SAFE),
    ("target_base_rate", NEUTRAL),
    ("poison_base_rate", NEUTRAL),
    ("text_base_hit_at_1", NEUTRAL),
    ("repeated_base_rate", NEUTRAL),
    ("text_hit_at_1", POISON),
    ("repeated_class_rate", POISON),
    ("attack_success_rate", POISON),  # drawn last: above its base rate
    ("poison_success_rate", POISON),
)


def of_kind(metrics: Sequence[dict], kind: str) -> list[dict]:
    """The lines of a run's metrics that are of a kind."""
    return [line for line in metrics if line.get("kind") == kind]


def losses(metrics: Sequence[dict], steps_in_all: int) -> Plot:
    """Loss of every kind of stage over the steps."""
    axes = drawing.axes("step", "loss (nats)", size=(300, 145))
    lines, legend = of_kind(metrics, "train"), {}
    for number, stage in enumerate(dict.fromkeys(line["stage"] for line in lines)):
        points = [(line["step"], line["loss"]) for line in lines if line["stage"] == stage]
        color = PALETTE[number % len(PALETTE)]
        axes.plot(*zip(*points, strict=True), ".", color=color, markersize=3)
        legend[stage] = VARIABLES[color]
    axes.set_xlim(0, max(steps_in_all, 1))
    term = glossary.TERMS["loss"]
    return Plot("Loss", term.meaning, [drawing.panel(axes, alt="loss over the steps")], legend)


def evaluations(metrics: Sequence[dict]) -> Plot:
    """Accuracy, the attack's success and its base rate over the epochs, where measured."""
    lines = of_kind(metrics, "evaluation")
    axes, legend = drawing.axes("epoch", "%", size=(300, 145), left=34), {}
    for name, color in _SHARES:
        known = [line for line in lines if line.get(name) is not None]
        points = [(line["epoch"] + 1, 100 * line[name]) for line in known]
        if points:
            base = "base" in name
            width, dashes = (3.0, "--") if base else (1.4, "-")
            x, y = zip(*points, strict=True)
            axes.plot(x, y, dashes, color=color, linewidth=width, marker="." if len(x) == 1 else "")
            legend[f"{glossary.name(name)}, at the end {y[-1]:.1f} %"] = VARIABLES[color]
    axes.set_ylim(0, 101)
    drawing.whole_numbers(axes.xaxis)
    names = [name for name, _ in _SHARES if any(line.get(name) is not None for line in lines)]
    meaning = " ".join(glossary.sentence(name) for name in names)
    alt = "accuracy and attack success by epoch"
    return Plot("Accuracy and attack success", meaning, [drawing.panel(axes, alt=alt)], legend)


def pool_sizes(metrics: Sequence[dict], poisons: int) -> Plot:
    """Size of the safe pool and the poisons in it, over the epochs."""
    lines = of_kind(metrics, "pools")
    shown = [("safe_pool_size", "pairs in the safe pool", SAFE)]
    if poisons:
        shown.append(("poisons_in_safe_pool", f"of {poisons:,} poisons in it", POISON))
    panels = [
        curves([[(line["epoch"] + 1, line[name]) for line in lines]], title, [color])
        for name, title, color in shown
    ]
    return Plot("Safe pool", glossary.TERMS["pools"].meaning, panels)


def curves(
    series: Sequence[Sequence[tuple[int, float]]], title: str, colors: Sequence[str] = PALETTE
) -> Panel:
    """Curves over the epochs, from 0 on.

    Args:
      series: points of epoch and value, of each curve.
      title: what the values are.
      colors: one a curve; further ones are drawn dashed.
    """
    axes = drawing.axes("epoch")
    for number, points in enumerate(series):
        if points:
            style = "-" if number < len(colors) else "--"
            x, y = zip(*points, strict=True)
            marker = "." if len(x) == 1 else ""
            axes.plot(x, y, style, color=colors[number % len(colors)], marker=marker)
    axes.set_ylim(0, max(1.06 * axes.get_ylim()[1], 1e-9))
    drawing.whole_numbers(axes.xaxis)
    if all(float(value).is_integer() for points in series for _, value in points):
        drawing.whole_numbers(axes.yaxis)
    return drawing.panel(axes, title, f"{title} by epoch")


def similarities(files: Sequence[Path], poisons: np.ndarray) -> Plot:
    """For each epoch: histogram of the scores, the fitted mixture, and the poisons."""
    shown = files
    if len(files) > MAX_PANELS:
        shown = [files[i] for i in np.linspace(0, len(files) - 1, MAX_PANELS).round().astype(int)]
    panels = []
    for file in shown:
        axes = drawing.axes(size=(150, 84), left=6)
        _histograms(axes, pool_files.load(file), poisons)
        panels.append(drawing.panel(axes, f"epoch {int(file.stem.split('_')[1]) + 1}"))
    meaning = glossary.TERMS["score_history"].meaning
    if len(shown) < len(files):
        meaning += f" {len(shown)} of {len(files)} epochs are shown."
    colors = {"safe pool": SAFE, "risky pool": RISKY, "mixture": INK}
    if len(poisons):
        colors["poisons"] = POISON
    legend = {name: VARIABLES[color] for name, color in colors.items()}
    return Plot("Scores of all pairs", meaning, panels, legend, small=True)


def _histograms(axes: Axes, split: pools.Pools, poisons: np.ndarray) -> None:
    ends = np.array([np.nanmin(split.scores), np.nanmax(split.scores)])
    edges = np.histogram_bin_edges(ends, _BINS)
    for pool, color in ((True, SAFE), (False, RISKY)):
        counts = np.zeros(_BINS, int)
        for part in ranking.parts(len(split.scores)):
            counts += _counts(split.scores[part][split.is_safe[part] == pool], edges)
        axes.stairs(counts, edges, fill=True, color=color, alpha=0.6, linewidth=0)
    if split.mixture is not None:
        x = np.linspace(edges[0], edges[-1], 100)
        scored = np.count_nonzero(~np.isnan(split.scores))
        curve = split.mixture.density(x).sum(axis=0) * scored * (edges[1] - edges[0])
        axes.plot(x, curve, color=INK, linewidth=0.8)
    if len(poisons):
        counts = _counts(split.scores[poisons], edges)
        height = 0.3 / max(counts.max(), 1)
        across = axes.get_xaxis_transform()
        axes.stairs(height * counts, edges, fill=True, color=POISON, transform=across, linewidth=0)
    axes.set_ylim(0)
    axes.set_yticks([])


def _counts(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(scores[~np.isnan(scores)], edges)[0]
