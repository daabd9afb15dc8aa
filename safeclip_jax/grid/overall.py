"""What a grid says of a defence as a whole: means over all its runs under attacks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t

from safeclip_jax.training.results import is_natural, success

Result = dict


def is_plain(run: Result) -> bool:
    """Whether a run is CLIP without a defence on poisoned data, by which attacks are judged."""
    return run["defense"] == "none" and run["poisons"] > 0 and not run["audited"]


def rows(
    found: Sequence[Result], attacks: Sequence[str], defenses: Sequence[str]
) -> list[list[str]]:
    """A row for each summary: its name and a cell for each defence.

    Runs count under attacks that have poisons, also those that trained on none (CleanCLIP), each as
    one, so an attack with three seeds counts thrice; repeated true pairs are no attack. A
    difference of accuracies is of runs with the same attack and seed, with Student's interval of
    its mean.

    Args:
      found: `results.json` of every cell, with `attack`, `defense_name` and `audited`.
      attacks: rows of the other tables.
      defenses: columns.
    """
    plain = {(run["attack"], run["seed"]): run["zero_shot_accuracy"]
             for run in found if is_plain(run)}  # fmt: skip
    summaries = {
        "runs": lambda runs: str(len(runs)),
        "accuracy": lambda runs: _percent([run["zero_shot_accuracy"] for run in runs]),
        "accuracy less CLIP's": lambda runs: _difference(runs, plain),
        "gain in success": lambda runs: _percent([_gain(run) for run in runs]),
        "largest gain of an attack": _largest_gain,
    }
    poisoned = {run["attack"] for run in found if run["poisons"] and not is_natural(run)} & set(
        attacks
    )
    of_defense = [
        [run for run in found if run["defense_name"] == name and run["attack"] in poisoned]
        for name in defenses
    ]
    return [
        [name, *(summary(runs) if runs else "–" for runs in of_defense)]
        for name, summary in summaries.items()
    ]


def _percent(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.1f}"


def _gain(run: Result) -> float:
    rate, base = success(run)
    return rate - base


def _difference(runs: Sequence[Result], plain: dict[tuple[str, int], float]) -> str:
    differences = [
        run["zero_shot_accuracy"] - plain[run["attack"], run["seed"]]
        for run in runs
        if (run["attack"], run["seed"]) in plain
    ]
    if len(differences) < 2 or all(is_plain(run) for run in runs):
        return "–"
    mean, n = statistics.mean(differences), len(differences)
    margin = t.ppf(0.975, n - 1) * statistics.stdev(differences) / math.sqrt(n)
    return f"{100 * mean:+.1f} [{100 * (mean - margin):+.1f}, {100 * (mean + margin):+.1f}]"


def _largest_gain(runs: Sequence[Result]) -> str:
    gains: dict[str, list[float]] = {}
    for run in runs:
        gains.setdefault(run["attack"], []).append(_gain(run))
    attack, found = max(gains.items(), key=lambda item: statistics.mean(item[1]))
    return f"{_percent(found)} ({attack})"
