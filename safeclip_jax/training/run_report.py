"""`report.html`: one self-contained page about a run, readable offline.

After its figures it lists the pairs with their way through the pools, as an audit's page does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safeclip_jax.defenses import pool_files, pools, ranking
from safeclip_jax.errors import BadRecord
from safeclip_jax.evaluation.task import Metrics
from safeclip_jax.report import confusion, glossary, pages, pair_browser, plots, pool_history
from safeclip_jax.report.pool_history import History
from safeclip_jax.runs import run_data
from safeclip_jax.training.experiment import Experiment
from safeclip_jax.training.metrics import read as read_metrics
from safeclip_jax.training.results import rows, warning

ExampleGroup = tuple[str, str, list[dict]]  # its name, what is in it, the pairs

EXAMPLES = 8
PAIRS = 20_000  # on the page, the worst scores first
_PICTURES = 1000  # of them have one, beside the poisons
_SIDE = 96  # pixels of an example
_EXCLUDED = "risky for good: before the model had learnt it, its picture was far from all others"


def write(folder: Path, experiment: Experiment, results: dict, evaluation: Metrics) -> None:
    """Writes the report of a finished run from what its folder holds.

    Args:
      folder: of the run.
      experiment: for examples of pairs.
      results: as in `results.json`.
      evaluation: the last one's figures.
    """
    metrics = read_metrics(folder / "metrics.jsonl")
    history = pool_history.read(folder, len(experiment.source))
    files = () if history is None else history.files
    last = pool_files.load(files[-1]) if files else None
    poisons = experiment.attack.manifest.indices
    shown = [plots.losses(metrics, results["steps"])]
    if plots.of_kind(metrics, "evaluation"):
        shown.append(plots.evaluations(metrics))
    if files:
        shown.append(plots.pool_sizes(metrics, len(poisons)))
        shown.append(plots.similarities(files, poisons))
    pages.write(
        folder / "report.html",
        "report.html",
        title=f"{results['defense']}, seed {results['seed']}",
        folder=folder,
        own_data=bool(run_data.named(experiment.config)),
        warning=warning(results),
        rows=rows(results),
        plots=shown,
        confusion=_confusion(experiment, evaluation),
        groups=_examples(experiment, last),
        data=None if history is None or last is None else _pairs(experiment, history, last),
        left_out=max(len(experiment.source) - PAIRS, 0),
        config=(folder / "config.json").read_text(),
    )


def _confusion(experiment: Experiment, evaluation: Metrics) -> confusion.Confusion | None:
    counts = evaluation.get("confusion")
    if not isinstance(counts, np.ndarray) or experiment.held_out is None:
        return None
    return confusion.of(counts, experiment.held_out.class_names)


def _pairs(experiment: Experiment, history: History, last: pools.Pools) -> str:
    """The pairs with their scores and pools, for the page's script."""
    order = ranking.first(history.suspicion, PAIRS)
    shown = pair_browser.Shown(
        order,
        ~last.is_safe[order],
        "risky at the end",
        {
            "mean rank of the scores": history.suspicion[order],
            "rank of the last score": history.last[order],
        },
        experiment.attack.manifest.indices,
        [[_EXCLUDED] if excluded else [] for excluded in np.isin(order, last.excluded)],
    )
    return pair_browser.data(shown, experiment.source, history, _PICTURES)


def _examples(experiment: Experiment, last: pools.Pools | None) -> list[ExampleGroup]:
    """Example pairs: the poisons, and both ends of both pools."""
    poisons = experiment.attack.manifest.indices
    groups = [("Poisoned pairs", "The first of those that the attack changed.", poisons)]
    if last is not None:
        safe, low = last.is_safe, -last.scores
        border = len(safe) - 1 - ranking.first(low[::-1], EXAMPLES, safe[::-1])
        best, worst = (
            ranking.first(last.scores, EXAMPLES, safe),
            ranking.first(low, EXAMPLES, ~safe),
        )
        missed, excluded = poisons[safe[poisons]], glossary.meaning("excluded_pairs")
        groups += [
            ("Poisons that reached the safe pool", "What the defence missed.", missed),
            ("Safest pairs", "Those of the safe pool with the highest scores.", best),
            ("Safe pairs nearest to the border", "Those of it with the lowest scores.", border),
            ("Riskiest pairs", "Those of the risky pool with the lowest scores.", worst),
            ("Excluded as outliers", excluded, last.excluded),
        ]
    scores = None if last is None else last.scores
    return [
        (name, meaning, [_example(experiment, int(i), scores) for i in indices[:EXAMPLES]])
        for name, meaning, indices in groups
        if len(indices)
    ]


def _example(experiment: Experiment, index: int, scores: np.ndarray | None) -> dict:
    source = experiment.source
    try:
        image = pair_browser.thumbnail(source.image(index), _SIDE)
    except BadRecord:
        image = None
    score = "" if scores is None else f"score {scores[index]:.3f}"
    return {
        "image": image,
        "caption": source.captions[index][:200],
        "key": source.keys[index],
        "score": score,
        "poisoned": bool(np.isin(index, experiment.attack.manifest.indices)),
    }
