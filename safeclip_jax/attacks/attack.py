"""An attack on training pairs: its manifest and how it changes an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from safeclip_jax.attacks.manifest import Manifest, PoisonedPair
from safeclip_jax.attacks.natural import near_duplicate
from safeclip_jax.attacks.poisoned_source import PoisonedSource
from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data.sources.base import ImageSource


@dataclass(frozen=True)
class Attack:
    """What poisons the training pairs and what tests the model.

    Attributes:
      manifest: the poisons; without any for a clean run.
      triggers: by name; empty where no pixel tells a poison.
      chosen: images of targeted poisoning by key, uint8 [S, S, 3].
    """

    manifest: Manifest
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    chosen: Mapping[str, np.ndarray] = field(default_factory=dict)

    def change(self, pair: PoisonedPair, image: np.ndarray) -> np.ndarray:
        """The image of a poisoned pair, from that of the pair `origin`."""
        if pair.image:
            return self.chosen[pair.image]
        if pair.trigger:
            return self.triggers[pair.trigger](image, pair.origin)
        return image if self.keeps_pixels(pair) else near_duplicate(image, pair.index)

    def keeps_pixels(self, pair: PoisonedPair) -> bool:
        """Whether a poisoned pair shows the image of the pair `origin` as it is."""
        return not pair.image and not pair.trigger and self.manifest.kind != "natural"

    def poisoned(self, source: ImageSource) -> ImageSource:
        """The source with the manifest's pairs changed."""
        if not self.manifest.pairs:
            return source
        return PoisonedSource(source, self.manifest, self.change, self.keeps_pixels)
