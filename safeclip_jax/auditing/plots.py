"""The plot of an audit."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from safeclip_jax.auditing.detectors import Scores
from safeclip_jax.defenses import pools
from safeclip_jax.report.plots import POISON, RISKY, SAFE, as_svg


def misfits(
    scores: Scores,
    strangers: np.ndarray,
    poisons: np.ndarray | None,
) -> str:
    """All pairs' cosine similarity with the fitted mixture, and their score beside strangers'.

    Args:
      scores: `similarity` and `misfit` of the pairs, NaN for unusable ones.
      strangers: `misfit` of pictures under captions of others, [M].
      poisons: indices, where they are known.
    """
    similarity, suspicion = scores["similarity"], scores["misfit"]
    figure = Figure(figsize=(10, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    cosines = -similarity[~np.isnan(similarity)]
    edges = np.histogram_bin_edges(cosines, 80)
    left.hist(cosines, edges, color=SAFE, alpha=0.6, label="pairs")
    mixture = pools.fit(cosines, 0)
    if mixture is not None:
        x = np.linspace(edges[0], edges[-1], 300)
        density = mixture.density(x) * len(cosines) * (edges[1] - edges[0])
        left.plot(x, density.T, color="black", linewidth=0.8)
        left.set_title("cosine similarity, and two Gaussians", fontsize=9)
    values = suspicion[~np.isnan(suspicion)]
    edges = np.histogram_bin_edges(np.concatenate([values, strangers]), 80)
    weights = np.full(len(strangers), len(values) / len(strangers))
    right.hist(values, edges, color=SAFE, alpha=0.6, label="pairs")
    right.hist(strangers, edges, weights=weights, histtype="step", color=RISKY, label="shuffled")
    right.axvline(np.median(strangers), color="black", linewidth=0.8)
    right.set_title("misfit score: pairs, and captions shuffled", fontsize=9)
    if poisons is not None:
        for axes, of_poisons in ((left, -similarity[poisons]), (right, suspicion[poisons])):
            axes.vlines(
                of_poisons, 0, 0.12, transform=axes.get_xaxis_transform(), color=POISON,
                linewidth=0.6, label="poisons",
            )  # fmt: skip
    for axes in (left, right):
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.set_ylabel("pairs")
    right.legend(frameon=False)
    return as_svg(figure)
