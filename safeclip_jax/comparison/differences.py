"""What differs between two finished runs: settings, final figures, pools by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from safeclip_jax.comparison.finished import Finished
from safeclip_jax.runs import settings
from safeclip_jax.runs.same_data import EVALUATION, TRAINING

NONE = "–"
_COUNTS = {
    *("pairs", "poisons", "safe_pool_size", "risky_pool_size", "poisons_in_safe_pool"),
    *("excluded_pairs", "excluded_poisons", "skipped_records"),
    *("skipped_held_out", "skipped_steps", "steps"),
}
_RATIOS = {"pairs_per_second", "seconds"}
_OFTEN_NOTHING = ("skipped_", "excluded_")
_LEFT_OUT = {"seed", "share_beyond_train_steps"}


class Row(NamedTuple):
    """A setting or a figure by its key, in words for both runs; and the difference of figures."""

    key: str
    a: str
    b: str
    difference: str = ""


class PoolsOfEpoch(NamedTuple):
    """The safe pools of an epoch; None where a run has no pools in it.

    Attributes:
      epoch: from 1.
      sizes: pairs in each run's safe pool.
      poisons: of each run, how many of its own poisons are in it.
      overlap: intersection over union of both.
    """

    epoch: int
    sizes: tuple[int | None, int | None]
    poisons: tuple[int | None, int | None]
    overlap: float | None


def of_settings(a: Finished, b: Finished) -> list[Row]:
    """The settings that differ."""
    first, second = (dict(_flat(settings.as_dict(run.settings))) for run in (a, b))
    return [
        Row(key, repr(first[key]), repr(second[key]))
        for key in settings.KEYS
        if first[key] != second[key]
    ]


def of_figures(a: Finished, b: Finished) -> list[Row]:
    """The final figures that either run has, with B's less A's."""
    both = {**a.results, **b.results}
    keys = [key for key in both if _is_figure(key, a.results.get(key), b.results.get(key))]
    return [_figure(key, a.results, b.results) for key in keys]


def other_data(a: Finished, b: Finished, source: str) -> list[str]:
    """In what their training or evaluation pairs differ: number, keys, captions, labels, images.

    Args:
      a, b: the runs.
      source: `same_data.TRAINING` or `EVALUATION`.
    """
    if source == TRAINING and a.pairs != b.pairs:
        return ["number"]
    first, second = a.data.get(source), b.data.get(source)
    if first is None or second is None:
        return []
    return [str(part) for part in first if first.get(part) != second.get(part)]


def remarks(a: Finished, b: Finished) -> list[str]:
    """What a reader must know of the comparison: what of the runs cannot be compared, and why."""
    found = []
    training, evaluation = (other_data(a, b, source) for source in (TRAINING, EVALUATION))
    if training:
        found.append(
            f"The training pairs differ ({', '.join(training)}): settings, figures and curves are "
            "compared, pools and pairs are not."
        )
    elif not (a.pools and b.pools):
        lacking = " and ".join(n for n, run in (("A", a), ("B", b)) if not run.pools)
        found.append(f"{lacking} made no pools: settings, figures and curves alone are compared.")
    if evaluation:
        found.append(
            f"The evaluation pairs differ ({', '.join(evaluation)}): accuracies and rates are of "
            "different images."
        )
    return found


def of_pools(a: Finished, b: Finished) -> Iterator[PoolsOfEpoch]:
    """Sizes, poisons and overlap of the safe pools in every epoch with pools.

    Raises:
      UserError: if a file of pools cannot be read.
    """
    for epoch in sorted(a.pools.keys() | b.pools.keys()):
        safe = [run.pools_of(epoch).is_safe if epoch in run.pools else None for run in (a, b)]
        sizes = [None if s is None else int(np.count_nonzero(s)) for s in safe]
        poisons = [
            None if s is None else int(s[run.poisons].sum())
            for s, run in zip(safe, (a, b), strict=True)
        ]
        yield PoolsOfEpoch(epoch, (sizes[0], sizes[1]), (poisons[0], poisons[1]), _overlap(*safe))


def _overlap(a: np.ndarray | None, b: np.ndarray | None) -> float | None:
    if a is None or b is None:
        return None
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 1.0


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and f"{prefix}{key}" not in settings.KEYS:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_figure(key: str, *values: Any) -> bool:
    known = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) for value in known)
    wanted = not key.startswith("seconds_") and key not in _LEFT_OUT
    said = any(known) or not key.startswith(_OFTEN_NOTHING)
    return bool(known) and numbers and wanted and said


def _figure(key: str, a: dict, b: dict) -> Row:
    return Row(key, _text(key, a), _text(key, b), _change(key, a.get(key), b.get(key)))


def _change(key: str, a: float | None, b: float | None) -> str:
    """B's figure less A's."""
    if a is None or b is None:
        return NONE
    if a == b:
        return "same"
    if key in _COUNTS:
        return f"{b - a:+,}"
    if key in _RATIOS:
        ratio = f" (× {b / a:.2f})" if a else ""
        return f"{b - a:+,.0f}{ratio}"
    return f"{b - a:+.4f}" if key == "score_auroc" else f"{100 * (b - a):+.1f} points"


def _text(key: str, results: dict) -> str:
    value, interval = results.get(key), results.get(f"{key}_interval")
    if value is None:
        return NONE
    if key in _COUNTS | _RATIOS:
        return f"{value:,.0f}"
    if key == "score_auroc":
        return f"{value:.4f}"
    return f"{value:.1%}" + (f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else "")
