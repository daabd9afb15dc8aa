"""Caption augmentation after EDA, "easy data augmentation" (Wei & Zou, 2019).

One operation, drawn at random, is applied to a tenth of a caption's words (to at least
one): insertion, swap, deletion and, where there is a thesaurus, replacement by a synonym.
Without a thesaurus an inserted word is one of the caption's own instead of a synonym.
"""

from __future__ import annotations

from random import Random

from safeclip_jax.data.wordnet import Synonyms

SHARE_CHANGED = 0.1


def augment(caption: str, rng: Random, synonyms: Synonyms | None = None) -> str:
    """Returns the caption changed by one operation.

    A single word is neither swapped nor deleted, and inserted only as a synonym.

    Args:
      caption: words separated by white space.
      rng: source of every random choice.
      synonyms: the thesaurus, or None.
    """
    words = caption.split()
    operations = ("insert", "swap", "delete", *(("replace",) if synonyms else ()))
    operation = operations[below(len(operations), rng)]
    for _ in range(max(1, round(SHARE_CHANGED * len(words)))):
        if operation == "replace" and synonyms:
            words = _replace(words, rng, synonyms)
        elif operation == "insert" and synonyms:
            words = _insert_synonym(words, rng, synonyms)
        elif len(words) >= 2:
            words = {"insert": _insert, "swap": _swap, "delete": _delete}[operation](words, rng)
    return " ".join(words)


def random_of(seed: int, *place: int) -> Random:
    """The source of random choices at a place, such as (epoch, stage, view, pair)."""
    combined = seed
    for number in place:
        combined = combined << 40 | number
    return Random(combined)


def _synonym(words: list[str], rng: Random, synonyms: Synonyms) -> tuple[int, str] | None:
    """A place whose word has synonyms and one of them, or None if no word has any."""
    places = [i for i, word in enumerate(words) if synonyms.of(word)]
    if not places:
        return None
    at = places[below(len(places), rng)]
    others = synonyms.of(words[at])
    return at, others[below(len(others), rng)]


def _replace(words: list[str], rng: Random, synonyms: Synonyms) -> list[str]:
    found = _synonym(words, rng, synonyms)
    if found is None:
        return words
    at, other = found
    return [*words[:at], other, *words[at + 1 :]]


def _insert_synonym(words: list[str], rng: Random, synonyms: Synonyms) -> list[str]:
    found = _synonym(words, rng, synonyms)
    if found is None:
        return words
    at = below(len(words) + 1, rng)
    return [*words[:at], found[1], *words[at:]]


def _insert(words: list[str], rng: Random) -> list[str]:
    word, at = words[below(len(words), rng)], below(len(words) + 1, rng)
    return [*words[:at], word, *words[at:]]


def _swap(words: list[str], rng: Random) -> list[str]:
    i = below(len(words), rng)
    j = (i + 1 + below(len(words) - 1, rng)) % len(words)
    words = list(words)
    words[i], words[j] = words[j], words[i]
    return words


def _delete(words: list[str], rng: Random) -> list[str]:
    at = below(len(words), rng)
    return [*words[:at], *words[at + 1 :]]


def below(count: int, rng: Random) -> int:
    """A number from 0 to count − 1; from `random`, which alone stays as it is in every Python."""
    return int(rng.random() * count)
