"""The plot of a grid: success and accuracy of every defence under every attack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from safeclip_jax.report.plots import as_svg
from safeclip_jax.training.results import success

COLORS = ("#b3261e", "#d98a29", "#8a6fb0", "#c9b8a0", "#2a78b5", "#2b8a57", "#101418")


def bars(
    found: Sequence[dict],
    attacks: Sequence[str],
    defenses: Sequence[str],
) -> str:
    """Bars of the means, a point for each seed, and a tick for the base rate, as SVG."""
    attacks = [a for a in attacks if any(r["attack"] == a for r in found)]
    figure = Figure(figsize=(max(9.0, 1.15 * len(attacks) + 2), 6.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    width = 0.84 / max(len(defenses), 1)
    for number, defense in enumerate(defenses):
        color = COLORS[number % len(COLORS)]
        for place, attack in enumerate(attacks):
            runs = [r for r in found if (r["attack"], r["defense_name"]) == (attack, defense)]
            if not runs:
                continue
            x = place - 0.42 + (number + 0.5) * width
            rates = [100 * success(run)[0] for run in runs]
            base = 100 * np.mean([success(run)[1] for run in runs])
            accuracies = [100 * run["zero_shot_accuracy"] for run in runs]
            for axes, values in ((top, rates), (bottom, accuracies)):
                axes.bar(x, np.mean(values), width, color=color, alpha=0.75, label=defense)
                axes.plot([x] * len(values), values, "o", color="black", markersize=2)
            top.hlines(base, x - width / 2, x + width / 2, color="black", linewidth=0.9)
    top.set(ylabel="success, % (line: base rate)", ylim=(0, 101))
    bottom.set(ylabel="zero-shot accuracy, %", ylim=(0, 101))
    bottom.set_xticks(range(len(attacks)), attacks, rotation=20, ha="right")
    handles, labels = top.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside upper center", ncols=4, frameon=False)
    return as_svg(figure)
