"""Which pairs may be poisoned: who names a class, how many of them, and the draw."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from functools import cache

import numpy as np

from safeclip_jax.attacks.manifest import PoisonedPair
from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import UserError

_WORD = re.compile(r"\w+")
_DOTLESS = str.maketrans("ıİ", "ii")  # which `re.IGNORECASE` takes for an i


def mentions(caption: str, name: str) -> bool:
    """Whether the caption names it as a whole word, whatever the case."""
    return _whole_word(name).search(caption) is not None


def mentioned(captions: Sequence[str], name: str) -> np.ndarray:
    """Which captions name it, bool [N]."""
    return np.fromiter((mentions(caption, name) for caption in captions), bool, len(captions))


@cache
def _whole_word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def _folded_words(text: str) -> list[str]:
    """Its words, the same for texts that differ in case alone."""
    return [word.translate(_DOTLESS).casefold() for word in _WORD.findall(text)]


def poison_count(pairs: int, rate: float, count: int) -> int:
    """How many pairs to poison: `count` where it is given, else `rate` of them.

    Raises:
      UserError: if the rate is no share, or rounds to no pair.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"attack.rate={rate} is not a share between 0 and 1")
    if count < 0:
        raise UserError(f"attack.count={count} is below 0")
    found = count or round(rate * pairs)
    if rate > 0 and found == 0:
        raise UserError(
            f"attack.rate={rate} of {pairs} pairs rounds to no poison: raise it above "
            f"{0.5 / pairs:.2g}, or set 0 for a clean run"
        )
    return found


def naming(source: Source, target: str) -> np.ndarray:
    """The pairs whose caption names the target; `UserError` if there are none."""
    if not target.strip():
        raise UserError("attack.target is empty: name a class that the captions name")
    found = np.flatnonzero(mentioned(source.captions, target))
    if not len(found):
        raise UserError(
            f"attack.target={target!r} is in none of the {len(source)} captions: choose a class "
            "that the captions name"
        )
    return found


def captions_of(source: Source, names: Sequence[str]) -> dict[str, np.ndarray]:
    """For each class that captions name: the indices of those captions.

    Raises:
      UserError: if they name none.
    """
    found = each_named(source.captions, names)
    named = {name: np.array(indices) for name, indices in found.items() if indices}
    if not named:
        raise UserError(
            f"targeted poisoning: none of the {len(source)} captions names a class such as "
            f"{names[0]!r}"
        )
    return named


def each_named(captions: Sequence[str], names: Sequence[str]) -> dict[str, array[int]]:
    """For each name the indices of the captions that mention it, ascending.

    Only names whose first word a caption has are searched for in it.
    """
    found = {name: array("q") for name in names}
    by_first: dict[str, list[str]] = {}
    for name in names:
        by_first.setdefault(next(iter(_folded_words(name)), ""), []).append(name)
    for index, caption in enumerate(captions):
        for word in {"", *_folded_words(caption)} & by_first.keys():
            for name in by_first[word]:
                if mentions(caption, name):
                    found[name].append(index)
    return found


def draw(candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws so many of the candidates, ascending."""
    if count > len(candidates):
        raise UserError(f"the attack needs {count} victims, there are {len(candidates)}")
    return np.sort(rng.choice(candidates, count, replace=False))


def changed(
    source: Source,
    drawn: np.ndarray,
    shown: np.ndarray,
    triggers: Sequence[str],
    texts: Sequence[str],
) -> tuple[PoisonedPair, ...]:
    """What becomes of the drawn pairs: another's image where they show it, a trigger, a text."""
    return tuple(
        PoisonedPair(
            int(i),
            source.keys[i],
            trigger,
            "",
            source.captions[i],
            text,
            None if image == i else int(image),
        )
        for i, image, trigger, text in zip(drawn, shown, triggers, texts, strict=True)
    )
