"""Poisoning as a wrapper round a source: its pairs as the manifest changes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from safeclip_jax.attacks.manifest import Manifest, PoisonedPair
from safeclip_jax.data.decode import squeeze
from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.data.strings import Changed

Change = Callable[[PoisonedPair, np.ndarray], np.ndarray]


class PoisonedSource(ImageSource):
    """A source in which the manifest's pairs have other images and captions.

    Args:
      source: the clean pairs.
      manifest: what to change.
      change: makes a poisoned pair's image from its own.
      keeps_pixels: of a pair, whether its image stays as it is, but for another pair's place.
    """

    def __init__(
        self,
        source: ImageSource,
        manifest: Manifest,
        change: Change,
        keeps_pixels: Callable[[PoisonedPair], bool] = lambda pair: False,
    ):
        captions = {pair.index: pair.caption for pair in manifest.pairs}
        super().__init__(
            Columns(
                Changed(source.captions, captions),
                source.keys,
                source.labels,
                source.class_names,
                source.rejected,
            )
        )
        self.read = source.read
        self._source = source
        self._origins = {pair.index: pair.origin for pair in manifest.pairs}
        changed = [pair for pair in manifest.pairs if not keeps_pixels(pair)]
        self._changes = {pair.index: partial(change, pair) for pair in changed}

    def image_numbers(self) -> np.ndarray:
        return self._source.image_numbers()

    def image(self, index: int) -> np.ndarray:
        image = self._source.image(self._origins.get(index, index))
        change = self._changes.get(index)
        return image if change is None else change(image)

    def picture(self, index: int, size: int) -> tuple[np.ndarray, float]:
        """A changed picture is the square of its centre, as the published kits store poisons."""
        if index in self._changes:
            return squeeze(self.image(index), size)
        return self._source.picture(self._origins.get(index, index), size)
