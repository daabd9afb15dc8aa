"""The plot of an audit."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from safeclip_jax.auditing.detectors import Scores
from safeclip_jax.defenses import pools
from safeclip_jax.report import drawing
from safeclip_jax.report.drawing import INK, POISON, RISKY, SAFE, VARIABLES, Plot

_BINS = 80
_MEANING = (
    "How many pairs (upwards) have which score. The line on the left is a mixture of two "
    "Gaussians; on the right, captions of other pairs show what a caption that does not fit looks "
    "like. Counts below 10 are linear, those above logarithmic."
)


def misfits(scores: Scores, strangers: np.ndarray, poisons: np.ndarray | None) -> Plot:
    """All pairs' cosine similarity with the fitted mixture, and their score beside strangers'.

    Args:
      scores: `similarity` and `misfit` of the pairs, NaN for unusable ones.
      strangers: `misfit` of pictures under captions of others, [M].
      poisons: indices, where they are known.
    """
    similarity, suspicion = -scores["similarity"], scores["misfit"]
    left, right = (drawing.axes(x) for x in ("cosine similarity", "misfit score"))
    cosines = similarity[~np.isnan(similarity)]
    edges = np.histogram_bin_edges(cosines, _BINS)
    _counted(left, cosines, edges)
    mixture = pools.fit(cosines, 0)
    if mixture is not None:
        x = np.linspace(edges[0], edges[-1], 200)
        density = mixture.density(x) * len(cosines) * (edges[1] - edges[0])
        left.plot(x, density.T, color=INK, linewidth=0.8)
    values = suspicion[~np.isnan(suspicion)]
    bins = np.histogram_bin_edges(np.concatenate([values, strangers]), _BINS)
    _counted(right, values, bins)
    heights = np.histogram(strangers, bins)[0] * len(values) / len(strangers)
    right.stairs(heights, bins, color=RISKY)
    colors = {"pairs": SAFE, "mixture of two Gaussians": INK, "captions of other pairs": RISKY}
    if poisons is not None:
        colors["poisons"] = POISON
        _counted(left, similarity[poisons], edges, POISON)
        _counted(right, suspicion[poisons], bins, POISON)
    for axes in (left, right):
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0)
    panels = [
        drawing.panel(left, "cosine similarity of image and caption"),
        drawing.panel(right, "misfit score"),
    ]
    legend = {name: VARIABLES[color] for name, color in colors.items()}
    return Plot("Scores of all pairs", _MEANING, panels, legend)


def _counted(axes: Axes, values: np.ndarray, edges: np.ndarray, color: str = SAFE) -> None:
    counts = np.histogram(values[~np.isnan(values)], edges)[0]
    axes.stairs(
        counts, edges, fill=True, color=color, alpha=0.6 if color == SAFE else 0.9, linewidth=0
    )
