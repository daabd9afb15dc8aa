"""The pairs that one run holds safe at its end and the other does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.attacks.manifest import PoisonedPair
from safeclip_jax.comparison.finished import Finished
from safeclip_jax.data.sources.base import Source
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.defenses import ranking
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.runs import run_data

SHOWN = 20  # pairs a direction
_CAPTION = 200  # letters of a caption


@dataclass(frozen=True)
class Differing:
    """Pairs in the last safe pool of one run alone.

    Attributes:
      of: the run that holds them safe, A or B.
      count: how many they are.
      poisons: how many of them are poisoned in a run.
      rows: index, key, caption, the score's rank in percent in A and B (100 is the best), and
        whether it is poisoned; those with the largest difference of the ranks first.
    """

    of: str
    count: int
    poisons: int
    rows: list[tuple[int, str, str, float, float, bool]]


def differing(a: Finished, b: Finished, source: Source | None) -> list[Differing]:
    """Compares the last pools of two runs on the same pairs.

    Args:
      a, b: the runs; both have pools.
      source: the pairs; None where they may not be opened: then keys and captions are those of
        poisons alone.

    Raises:
      UserError: if a file of pools cannot be read.
    """
    first, second = (run.pools_of(max(run.pools)) for run in (a, b))
    ranks = [_percent(pools) for pools in (first, second)]
    known = {pair.index: pair for run in (b, a) for pair in run.manifest.pairs}
    found = []
    for name, alone in (
        ("A", first.is_safe & ~second.is_safe),
        ("B", second.is_safe & ~first.is_safe),
    ):
        order = ranking.first(np.abs(ranks[0] - ranks[1]), SHOWN, alone).tolist()
        rows = [
            (i, *_words(i, known, source), float(ranks[0][i]), float(ranks[1][i]), i in known)
            for i in order
        ]
        poisons = int(alone[list(known)].sum()) if known else 0
        found.append(Differing(name, int(np.count_nonzero(alone)), poisons, rows))
    return found


def source(run: Finished, own_data: bool) -> Source | None:
    """The training pairs as they are stored; None if the config names data that is not trusted.

    Args:
      run: whose config names them.
      own_data: whether the user trusts what it names.

    Raises:
      UserError: if the data cannot be opened.
    """
    if run_data.named(run.settings) and not own_data:
        return None
    return run_data.raw_pairs(run.settings, IndexCache(run.folder / "index"))


def _words(index: int, known: dict[int, PoisonedPair], source: Source | None) -> tuple[str, str]:
    """Key and caption."""
    if index in known:
        return known[index].key, known[index].caption[:_CAPTION]
    return ("", "") if source is None else (source.keys[index], source.captions[index][:_CAPTION])


def _percent(pools: Pools) -> np.ndarray:
    """How many percent of the pairs have a score that is not better, float32 [N]."""
    scores = np.nan_to_num(pools.scores, nan=-np.inf)
    found = np.zeros(len(scores), np.float32)
    ranking.ranks(scores, out=found)
    return 100 * found / len(scores)
