"""The plot of a grid: success and accuracy of every defence under every attack."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from safeclip_jax.report import drawing
from safeclip_jax.report.drawing import INK, NEUTRAL, POISON, SAFE, VARIABLES, Panel, Plot
from safeclip_jax.training.results import success

_BARS = (("success", POISON), ("base rate", NEUTRAL), ("zero-shot accuracy", SAFE))
_THICK = 0.2  # of a bar, where a defence has 1
_MEANING = (
    "For each attack and defence: how often the attack succeeds; below it the base rate, which an "
    "attack that does nothing would reach; and the accuracy. Bars are means over the seeds, dots "
    "are single runs."
)


def bars(found: Sequence[dict], attacks: Sequence[str], defenses: Sequence[str]) -> Plot:
    """A panel for each attack; in it for each defence bars of means, and a dot for each seed."""
    panels = []
    for attack in attacks:
        mine = [run for run in found if run["attack"] == attack]
        ran = [name for name in defenses if any(run["defense_name"] == name for run in mine)]
        if mine:
            panels.append(_panel(attack, mine, ran))
    legend = {name: VARIABLES[color] for name, color in _BARS}
    return Plot("All attacks", _MEANING, panels, legend)


def _panel(attack: str, runs: Sequence[dict], defenses: Sequence[str]) -> Panel:
    axes = drawing.axes("%", size=(252, 34 + 38 * len(defenses)), left=8)
    for place, defense in enumerate(defenses):
        mine = [run for run in runs if run["defense_name"] == defense]
        rates, bases = zip(*map(success, mine), strict=True)
        accuracies = [run["zero_shot_accuracy"] for run in mine]
        axes.text(0.8, place - 0.18, defense, va="bottom", fontsize=8, parse_math=False)
        for number, (values, (_, color)) in enumerate(
            zip((rates, bases, accuracies), _BARS, strict=True)
        ):
            y = [place + _THICK * number] * len(values)
            axes.barh(y[0], 100 * statistics.mean(values), 0.9 * _THICK, color=color)
            if len(values) > 1:
                axes.plot([100 * v for v in values], y, ".", color=INK, markersize=2.5)
    axes.set(xlim=(0, 101), ylim=(len(defenses) - 0.4, -0.55))
    axes.set_yticks([])
    return drawing.panel(axes, attack)
