"""Parts of sources, and several sources as one."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import numpy as np

from safeclip_jax.data.mapped import shared
from safeclip_jax.data.sources.base import Columns, ImageSource, Source
from safeclip_jax.data.strings import Chosen, Joined
from safeclip_jax.errors import UserError


class Subset(Source):
    """Some pairs of a source by their indices."""

    def __init__(self, source: Source, indices: np.ndarray):
        self._source, self._indices = source, shared(indices)
        super().__init__(
            Columns(
                Chosen(source.captions, self._indices),
                Chosen(source.keys, self._indices),
                None if source.labels is None else shared(source.labels[indices]),
                source.class_names,
                source.rejected,
            )
        )
        self.read = source.read

    def image_numbers(self) -> np.ndarray:
        return self._source.image_numbers()[self._indices]

    def places(self) -> np.ndarray:
        return self._source.places()[self._indices]

    def image(self, index: int) -> bytes | np.ndarray:
        return self._source.image(int(self._indices[index]))


class ImageSubset(ImageSource):
    """Some pairs of an `ImageSource`."""

    def __init__(self, source: ImageSource, indices: np.ndarray):
        super().__init__(Subset(source, indices))
        self._source, self._indices = source, indices

    def image(self, index: int) -> np.ndarray:
        return self._source.image(int(self._indices[index]))


def part(source: Source, start: float, stop: float, seed: int) -> Source:
    """The pairs between two shares of the source, in an order shuffled by the seed.

    Parts that do not overlap share no pair, and together make the whole.
    """
    if not 0 <= start < stop <= 1:
        raise UserError(f"data part ({start}, {stop}) is not two rising shares between 0 and 1")
    if (start, stop) == (0, 1):
        return source
    first, last = round(start * len(source)), round(stop * len(source))
    if first == last:
        raise UserError(f"data part ({start}, {stop}) of {len(source)} pairs holds none")
    order = np.random.default_rng([seed, 0x9A27]).permutation(
        np.arange(len(source), dtype=np.int32)
    )
    return Subset(source, np.sort(order[first:last]))


def sample(source: Source, count: int, seed: int) -> Source:
    """`count` pairs by the seed: the field's "1 M random pairs of CC3M".

    Raises:
      UserError: if there are fewer.
    """
    if not 0 < count <= len(source):
        raise UserError(f"data.pairs={count}, but the source holds {len(source)} pairs")
    rng = np.random.default_rng([seed, 0x5B5E7])
    chosen = rng.choice(len(source), count, replace=False).astype(np.int32)
    return Subset(source, np.sort(chosen))


def weighted(source: Source, weight: float, seed: int) -> Source:
    """The source `weight` times: whole repeats, and a sample for the rest."""
    if weight <= 0:
        raise UserError(f"data.mix: weight {weight} is not above 0")
    repeats, rest = divmod(round(weight * len(source)), len(source))
    parts = [source] * repeats + ([sample(source, rest, seed)] if rest else [])
    if not parts:
        raise UserError(f"data.mix: weight {weight} of {len(source)} pairs leaves none")
    return parts[0] if len(parts) == 1 else Concatenation(parts)


class Concatenation(Source):
    """The pairs of several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]):
        super().__init__(_join(sources))
        self.read = sum({id(part.rejected): part.read for part in sources}.values())
        self._sources = sources
        self._ends = list(itertools.accumulate(len(s) for s in sources))

    def image_numbers(self) -> np.ndarray:
        numbers, start = [], 0
        for source in self._sources:
            own = source.image_numbers()
            numbers.append(start + own)
            start += int(own.max(initial=-1)) + 1
        return np.concatenate(numbers)

    def image(self, index: int) -> bytes | np.ndarray:
        number = bisect.bisect_right(self._ends, index)
        return self._sources[number].image(index - (self._ends[number - 1] if number else 0))


def _join(parts: Sequence[Source]) -> Columns:
    """Columns one after the other; labels stay only where all have the same classes."""
    names = list(parts[0].class_names)
    labels = [p.labels for p in parts if p.labels is not None and list(p.class_names) == names]
    same = len(labels) == len(parts)
    rejected = {id(part.rejected): part.rejected for part in parts}  # once where parts share them
    return Columns(
        Joined([part.captions for part in parts]),
        Joined([part.keys for part in parts]),
        shared(np.concatenate(labels)) if same else None,
        names if same else (),
        Joined(list(rejected.values())),
    )
