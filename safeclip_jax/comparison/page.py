"""`compare.html`: one self-contained page about two runs side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from safeclip_jax.comparison import differences
from safeclip_jax.comparison.differences import NONE, PoolsOfEpoch, Row
from safeclip_jax.comparison.finished import Finished
from safeclip_jax.comparison.pairs import Differing
from safeclip_jax.report import glossary, pages, plots
from safeclip_jax.report.drawing import RISKY, SAFE, VARIABLES, Panel, Plot
from safeclip_jax.runs import settings
from safeclip_jax.training.results import RATES

_COLORS = (SAFE, RISKY)
_LEGEND = {"A": VARIABLES[SAFE], "B": VARIABLES[RISKY]}
Points = list[tuple[int, float]]


def write(
    path: Path,
    a: Finished,
    b: Finished,
    pools: Sequence[PoolsOfEpoch],
    pairs: Sequence[Differing],
    remarks: Sequence[str],
) -> None:
    """Writes the page.

    Args:
      path: of the file.
      a, b: the runs.
      pools: of their epochs; none where they cannot be compared.
      pairs: that differ; none where they cannot be compared.
      remarks: what a reader must know first.
    """
    figures = differences.of_figures(a, b)
    changed = differences.of_settings(a, b)
    pages.write(
        path,
        "compare.html",
        a=a.folder,
        b=b.folder,
        remarks=remarks,
        settings=[(row, settings.KEYS[row.key].meaning) for row in changed],
        figures=figures,
        plots=[plot for plot in (_curves(a, b), _pools(pools, a, b)) if plot.panels],
        pools=pool_rows(pools),
        pairs=pairs,
    )


def pool_rows(pools: Sequence[PoolsOfEpoch]) -> list[list[str]]:
    """The pools of each epoch as cells of a table."""
    return [
        [
            f"{of.epoch}",
            *(NONE if size is None else f"{size:,}" for size in of.sizes),
            *(NONE if count is None else f"{count:,}" for count in of.poisons),
            NONE if of.overlap is None else f"{of.overlap:.1%}",
        ]
        for of in pools
    ]


def _curves(a: Finished, b: Finished) -> Plot:
    """Accuracy, success with base rate, and the losses that both runs have, over the epochs."""
    panels = []
    accuracy = [_measured(run, "zero_shot_accuracy") for run in (a, b)]
    if any(accuracy):
        panels.append(_panel(accuracy, f"{glossary.name('zero_shot_accuracy')}, %"))
    for rate, base in RATES:
        found = [_measured(run, name) for name in (rate, base) for run in (a, b)]
        if any(found):
            panels.append(_panel(found, f"{glossary.name(rate)}, dashed its base rate, %"))
    first, second = (_losses(run) for run in (a, b))
    panels += [
        _panel([first[stage], second[stage]], f"loss of stage “{stage}”, nats")
        for stage in first
        if stage in second
    ]
    meaning = "Both runs by epoch; a loss is the mean of an epoch's logged steps."
    return Plot("Curves", meaning, panels, _LEGEND)


def _pools(pools: Sequence[PoolsOfEpoch], a: Finished, b: Finished) -> Plot:
    if not pools:
        return Plot("Pools", "", [])
    both = range(2)
    sizes = [[(of.epoch, float(n)) for of in pools if (n := of.sizes[i]) is not None] for i in both]
    poisons = [
        [(of.epoch, float(n)) for of in pools if (n := of.poisons[i]) is not None] for i in both
    ]
    overlap = [(of.epoch, 100 * of.overlap) for of in pools if of.overlap is not None]
    panels = [_panel(sizes, "pairs in the safe pool")]
    if len(a.poisons) or len(b.poisons):
        panels.append(_panel(poisons, glossary.name("poisons_in_safe_pool")))
    if overlap:
        panels.append(plots.curves([overlap], f"{glossary.name('pool_overlap')}, %"))
    meaning = f"{glossary.meaning('pools')} {glossary.sentence('pool_overlap')}"
    return Plot("Pools by epoch", meaning, panels, _LEGEND)


def _panel(curves: Sequence[Points], title: str) -> Panel:
    return plots.curves(curves, title, _COLORS)


def _measured(run: Finished, name: str) -> Points:
    lines = plots.of_kind(run.metrics, "evaluation")
    return [(line["epoch"] + 1, 100 * line[name]) for line in lines if line.get(name) is not None]


def _losses(run: Finished) -> dict[str, Points]:
    """The mean loss of each epoch by kind of stage."""
    found: dict[str, dict[int, list[float]]] = {}
    for line in plots.of_kind(run.metrics, "train"):
        epochs = found.setdefault(line["stage"], {})
        epochs.setdefault(line["epoch"] + 1, []).append(line["loss"])
    return {
        stage: [(epoch, statistics.fmean(losses)) for epoch, losses in epochs.items()]
        for stage, epochs in found.items()
    }


def shown(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Rows of figures with the figures' names."""
    return [(glossary.name(row.key), row.a, row.b, row.difference) for row in rows]
