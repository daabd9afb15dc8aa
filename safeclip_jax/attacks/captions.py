"""Which captions poisoned pairs get: drawn, or chosen by an attacker who knows of the filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from safeclip_jax.data.sources.base import Source

CAPTIONS = ("data", "templates", "nearest", "both", "surrogate", "background")
TEMPLATES = ("a photo of a {}", "a picture of a {}", "a drawing of a {}")
_ROWS = 1024

# Of a source, the pairs with these indices and the captions with those: for each pair the most
# similar caption's index, and how similar it is to the image.
Match = Callable[[Source, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def choose(
    kind: str,
    source: Source,
    victims: Sequence[int],
    donors: np.ndarray,
    target: str,
    rng: np.random.Generator,
) -> list[str]:
    """A caption that names the target for each victim.

    Args:
      kind: in `CAPTIONS`, but not `surrogate`, which chooses the victims as well, nor
        `background`, which is for targeted poisoning.
        `data`: drawn among the data's own captions that name the target. `templates`: drawn
        among `TEMPLATES`. `nearest`: of the data's own the one most like the victim's caption,
        so that only the target is wrong about the image. `both`: the victim's caption with the
        target added, half true.
      source: the clean pairs.
      victims: indices of the pairs whose images are shown.
      donors: indices of the captions that name the target.
      target: class name.
      rng: of the draw.
    """
    count = len(victims)
    if kind == "templates":
        return [TEMPLATES[i].format(target) for i in rng.integers(len(TEMPLATES), size=count)]
    if kind == "both":
        return [f"{source.captions[i]} and a {target}" for i in victims]
    if not count:
        return []
    drawn = rng.choice(donors, count)
    if kind == "nearest":
        drawn = _nearest(source, victims, rng.permutation(donors))
    return [source.captions[int(i)] for i in drawn]


def _nearest(source: Source, victims: Sequence[int], donors: np.ndarray) -> np.ndarray:
    """The donor whose words are most like each victim's, by the cosine of their TF-IDF weights.

    Of equally good ones the first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # seconds, which `--help` spares

    texts = [source.captions[int(i)] for i in donors]
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", lowercase=True)
    known = vectorizer.fit_transform(texts)
    found = []
    for start in range(0, len(victims), _ROWS):
        own = vectorizer.transform([source.captions[i] for i in victims[start : start + _ROWS]])
        found.append(np.asarray((own @ known.T).todense()).argmax(axis=1))
    return donors[np.concatenate(found)]
