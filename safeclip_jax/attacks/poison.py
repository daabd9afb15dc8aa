"""Poisoning as a wrapper round a source: which pairs change, and into what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from safeclip_jax.data.sources.base import Columns, ImageSource, Source
from safeclip_jax.data.strings import ChangedStrings
from safeclip_jax.errors import UserError

Trigger = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class PoisonedPair:
    """One line of the manifest."""

    index: int
    key: str
    original_caption: str
    caption: str


@dataclass(frozen=True)
class Manifest:
    """What was changed: the truth that evaluations compare with."""

    target: str
    pairs: tuple[PoisonedPair, ...]

    @property
    def indices(self) -> np.ndarray:
        """Poisoned pair indices, int32, ascending."""
        return np.array([pair.index for pair in self.pairs], np.int32)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))


def mentions(caption: str, name: str) -> bool:
    """Whether the caption names it as a whole word, whatever the case."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", caption, re.IGNORECASE) is not None


def plan(
    source: Source, *, target: str, rate: float, seed: int, templates: Sequence[str] = ()
) -> Manifest:
    """Chooses the pairs to poison and their new captions.

    Victims are drawn among the pairs whose caption does not name the target. New
    captions are drawn from the captions that do, or from `templates` where given.

    Args:
      source: the clean pairs.
      target: class name.
      rate: share of all pairs; 0 for none.
      seed: of the draw.
      templates: texts with one `{}` for the target.

    Raises:
      UserError: if the rate rounds to no pair, no caption names the target, or too few
        pairs are left to poison.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"attack.rate={rate} is not a share between 0 and 1")
    names_target = np.array([mentions(caption, target) for caption in source.captions])
    donors, victims = np.flatnonzero(names_target), np.flatnonzero(~names_target)
    if not len(donors):
        raise UserError(
            f"attack.target={target!r} is in none of the {len(source)} captions: choose a class "
            "that the captions name"
        )
    count = round(rate * len(source))
    if rate > 0 and count == 0:
        raise UserError(
            f"attack.rate={rate} of {len(source)} pairs rounds to no poison: raise it above "
            f"{0.5 / len(source):.2g}, or set 0 for a clean run"
        )
    if count > len(victims):
        raise UserError(f"attack.rate={rate} needs {count} victims, there are {len(victims)}")
    rng = np.random.default_rng([seed, 0xBAD])
    chosen = np.sort(rng.choice(victims, count, replace=False))
    if templates:
        captions = [templates[i].format(target) for i in rng.integers(len(templates), size=count)]
    else:
        captions = [source.captions[i] for i in rng.choice(donors, count)]
    pairs = tuple(
        PoisonedPair(int(i), source.keys[i], source.captions[i], caption)
        for i, caption in zip(chosen, captions, strict=True)
    )
    return Manifest(target, pairs)


class PoisonedSource(ImageSource):
    """A source in which the manifest's pairs carry the trigger and their new captions."""

    def __init__(self, source: ImageSource, manifest: Manifest, trigger: Trigger):
        changed = {pair.index: pair.caption for pair in manifest.pairs}
        super().__init__(
            Columns(
                ChangedStrings(source.captions, changed),
                source.keys,
                source.labels,
                source.class_names,
                source.rejected,
            )
        )
        self._source, self._poisoned, self._trigger = source, frozenset(changed), trigger

    def image(self, index: int) -> np.ndarray:
        image = self._source.image(index)
        return self._trigger(image, index) if index in self._poisoned else image
