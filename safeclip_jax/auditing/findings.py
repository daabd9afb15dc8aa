"""All that an audit finds out, in order: misfits, then what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jax.sharding import Mesh
from scipy.stats import norm, rankdata

from safeclip_jax.auditing import groups, mismatch, pattern, pictures, words
from safeclip_jax.auditing.detectors import AT_ONCE, Scores, Surroundings
from safeclip_jax.auditing.groups import Group
from safeclip_jax.auditing.mismatch import Mismatch
from safeclip_jax.auditing.pattern import Pattern
from safeclip_jax.auditing.vectors import Vectors
from safeclip_jax.auditing.words import Word
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.defenses import pools
from safeclip_jax.report.pool_history import History

ALPHA = 1e-3  # a trace counts if chance makes one like it in so few audits
_SUSPECTS = (20, 1000)  # fewest and most pairs in which a pattern is sought
_LIKE = 8  # pictures of the same content to compare each of them with
_RARE = 0.995
_UNDERSTOOD = 0.1  # largest mean probability that captions of like pictures do not fit
_LOOKED_AT = 100_000  # pictures in which the pattern is then sought
Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Findings:
    """Of N pairs.

    Attributes:
      vectors: of all pairs.
      surroundings: the pairs that they were compared with.
      scores: by detector, high means suspicious, float32 [N]; NaN where there is none.
        Beside `detectors.DETECTORS`: `misfit`, see `mismatch.suspicion`; `repeats`, the same
        averaged over pairs with nearly the same picture; `combined`; and `pattern` and `history`
        where there are such.
      mismatch: how many captions do not fit, and which.
      strange: those of them whose pictures are like others with captions that fit, or are
        repeated; bool [N].
      words: of `sharers`' captions, the least probable first.
      sharers: the pairs whose words were counted: strange ones or, if those share no word, pairs
        that have the pattern most; bool [N].
      naming: pairs whose caption names the first word, if that is no chance; bool [N].
      pattern: what suspects' pictures share; None if there are too few to tell.
      repeated: pictures and captions that occur again and again and do not fit.
      history: of a run; None without one.
    """

    vectors: Vectors
    surroundings: Surroundings
    scores: Scores
    mismatch: Mismatch
    strange: np.ndarray
    words: list[Word]
    sharers: np.ndarray
    naming: np.ndarray
    pattern: Pattern | None
    repeated: list[Group]
    history: History | None

    @property
    def targets(self) -> list[Word]:
        """Words that those pairs name too often for chance."""
        return [word for word in self.words if word.p_value < ALPHA]

    @property
    def trigger(self) -> Pattern | None:
        """The pattern, if chance makes none like it and it tells most suspects from their like."""
        return self.pattern if self.pattern and self.pattern.counts(ALPHA) else None

    @cached_property
    def carriers(self) -> np.ndarray:
        """Pairs with the pattern, if there is one, bool [N]."""
        if self.trigger is None:
            return np.zeros(len(self.naming), bool)
        return _carriers(self.scores["pattern"], self.naming)

    @cached_property
    def flagged(self) -> np.ndarray:
        """Pairs that should go, bool [N].

        Strange ones, repeated pictures under captions that do not fit, and, where there is a
        pattern, pairs that name the target and have the pattern or do not fit.
        """
        flagged = self.strange.copy()
        for group in self.repeated:
            if group.kind == "picture":
                flagged[group.members] = True
        if self.trigger is not None:
            flagged |= self.naming & (self.carriers | self.mismatch.misfits)
        return flagged

    @property
    def order(self) -> np.ndarray:
        """All usable pairs, the most suspicious first."""
        combined = self.scores["combined"]
        first = np.argsort(-np.nan_to_num(combined, nan=-np.inf), kind="stable")
        return first[: int(self.vectors.usable.sum())]


def find(
    found: Vectors,
    scale: float,
    mesh: Mesh,
    source: ImageSource,
    history: History | None = None,
    seed: int = 0,
    say: Say = lambda what, done, total: None,
) -> Findings:
    """Audits pairs.

    Args:
      found: their vectors by a model.
      scale: its logit scale.
      mesh: of the devices to search on.
      source: the pairs; pictures of some are looked at.
      history: of the run that the model comes from.
      seed: of every draw.
      say: hears what is done, how far, of how much.
    """
    around = Surroundings.draw(found, scale, seed, mesh)
    scores = around.scores(lambda done, total: say("scoring", done, total))
    scores["misfit"], shuffled = mismatch.suspicion(scores, around.shuffled())
    misfit = mismatch.estimate(scores["misfit"], shuffled)
    strange = _strange(around, misfit)
    say("looking for repeats", 0, 1)
    edges = groups.near(found.images, found.usable, seed)
    alike = groups.clusters(pictures.nearly_equal(source, edges), len(found))
    same_text = groups.clusters(groups.near(found.texts, found.usable, seed), len(found))
    scores["repeats"] = _averaged(scores["misfit"], alike)
    repeated = groups.misfitting("picture", alike, misfit.misfits, misfit.share, ALPHA)
    for group in repeated:
        strange[group.members] = misfit.misfits[group.members]
    share = float(strange.mean())
    repeated += groups.misfitting("caption", same_text, strange, share, ALPHA)
    say("looking for repeats", 1, 1)
    sharers, named, naming, shared = _backdoor(source, around, scores, strange, say)
    names = ["repeats"]
    if history is not None:
        scores["history"] = np.where(found.usable, history.suspicion, np.nan)
        names.append("history")
    if shared is not None and shared.counts(ALPHA):
        names.append("pattern")
    scores["combined"] = combined([scores[name] for name in names])
    return Findings(
        found, around, scores, misfit, strange, named, sharers, naming, shared, repeated, history
    )


def combined(scores: list[np.ndarray]) -> np.ndarray:
    """Mean of the scores' normal quantiles, by rank, float32 [N]; a missing one counts as 0."""
    total = np.zeros(len(scores[0]))
    for values in scores:
        known = ~np.isnan(values)
        ranks = rankdata(values[known]) / (known.sum() + 1)
        total[known] += norm.ppf(ranks)
    total[np.isnan(scores[0])] = np.nan
    return (total / len(scores)).astype(np.float32)


def _averaged(values: np.ndarray, clusters: list[np.ndarray]) -> np.ndarray:
    averaged = values.copy()
    for members in clusters:
        averaged[members] = values[members].mean()
    return averaged


def _strange(around: Surroundings, misfit: Mismatch) -> np.ndarray:
    """Misfits among pictures whose captions fit, bool [N].

    Where the captions of pictures like it do not fit either, the model does not understand what
    they show, which says nothing of the pair.
    """
    probability = np.nan_to_num(misfit.probability)
    pairs = np.flatnonzero(misfit.misfits)
    strange = np.zeros(len(probability), bool)
    if len(pairs):
        _, near = around.images.nearest(np.array(around.vectors.images[pairs]), pairs)
        of_like = probability[around.images.numbers[near]].mean(axis=1)
        strange[pairs[of_like <= _UNDERSTOOD]] = True
    return strange


def _backdoor(
    source: ImageSource, around: Surroundings, scores: Scores, strange: np.ndarray, say: Say
) -> tuple[np.ndarray, list[Word], np.ndarray, Pattern | None]:
    """`sharers`, `words`, `naming` and `pattern` of `Findings`; adds the scores of the pattern.

    The target is a word of strange captions. If those share none, but their pictures a pattern, it
    is one of the pairs that have most of that. With a target the pattern is fitted once more, to
    all that carry it and name the target.
    """
    usable = around.vectors.usable
    sharers = strange
    named, naming = _target(source, sharers, usable)
    likely = strange & naming if naming.any() else strange
    shared = _pattern(source, around, scores, likely, naming, say)
    if shared is None or not shared.counts(ALPHA):
        return sharers, named, naming, shared
    if not naming.any():
        sharers = _carriers(scores["pattern"], naming)
        named, naming = _target(source, sharers, usable)
    if naming.any():
        carriers = _carriers(scores["pattern"], naming)
        again = _pattern(source, around, scores, carriers & naming, naming, say)
        shared = _refined(shared, again)
    return sharers, named, naming, shared


def _target(
    source: ImageSource, sharers: np.ndarray, usable: np.ndarray
) -> tuple[list[Word], np.ndarray]:
    """Words of some pairs, and the pairs whose caption names the first, if that is no chance."""
    named = words.over_represented(source.captions, sharers, usable)
    target = named[0].text if named and named[0].p_value < ALPHA else ""
    return named, words.naming(source.captions, target)


def _carriers(scores: np.ndarray, naming: np.ndarray) -> np.ndarray:
    """Pairs that have the pattern, bool [N].

    They have more of it than 1 in 200 has of those that do not name the target, and of those that
    do they belong to the upper of two Gaussians. Where there is no target all pairs count in the
    first condition, for few are poisoned.
    """
    values = np.nan_to_num(scores, nan=-np.inf)
    known = np.isfinite(values)
    carriers = values > np.quantile(values[~naming & known], _RARE)
    mixture = pools.fit(values[naming & known], 0) if naming.any() else None
    if mixture is not None:
        carriers[known] &= mixture.monotone_p_safe(values[known]) > 0.5
    return carriers


def _refined(first: Pattern, again: Pattern | None) -> Pattern:
    """The pattern of all that carry it; the first fit's figures stay, for they are of misfits."""
    if again is None:
        return first
    return replace(again, auroc=first.auroc, p_value=first.p_value)


def _pattern(
    source: ImageSource,
    around: Surroundings,
    scores: Scores,
    likely: np.ndarray,
    naming: np.ndarray,
    say: Say,
) -> Pattern | None:
    """Looks for what pictures of likely poisons share, and scores pictures by it.

    If there are few, or none, the other most suspicious ones are looked at, too. They are compared
    with pictures of the same content whose captions do not name the target.
    """
    misfit = np.nan_to_num(scores["misfit"], nan=-np.inf)
    order = np.argsort(-misfit, kind="stable")[: int(around.vectors.usable.sum())]
    likely_first = order[np.argsort(~likely[order], kind="stable")]
    suspects = np.sort(likely_first[: int(np.clip(likely.sum(), *_SUSPECTS))])
    _, near = around.images.nearest(np.array(around.vectors.images[suspects]), suspects)
    like = np.setdiff1d(around.images.numbers[near[:, :_LIKE]], likely_first[: len(suspects)])
    like = like[~naming[like]]
    shared = pattern.find(pictures.features(source, suspects), pictures.features(source, like))
    if shared is None:
        return None
    scores["pattern"] = np.full(len(misfit), np.nan, np.float32)
    looked_at = np.sort(order[:_LOOKED_AT])
    for start in range(0, len(looked_at), AT_ONCE):
        inputs, numbers = pictures.features(source, looked_at[start : start + AT_ONCE])
        scores["pattern"][numbers] = shared.scores(inputs, numbers)
        say("looking for the pattern", min(start + AT_ONCE, len(looked_at)), len(looked_at))
    return shared
