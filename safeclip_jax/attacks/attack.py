"""An attack on training pairs: its manifest and how it changes an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from safeclip_jax.attacks import poison
from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data.sources.base import ImageSource


@dataclass(frozen=True)
class Attack:
    """What poisons the training pairs and what tests the model.

    Attributes:
      manifest: the poisons; without any for a clean run.
      triggers: by name; empty in targeted poisoning.
      chosen: images of targeted poisoning by key, uint8 [S, S, 3].
    """

    manifest: poison.Manifest
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    chosen: Mapping[str, np.ndarray] = field(default_factory=dict)

    def change(self, pair: poison.PoisonedPair, image: np.ndarray) -> np.ndarray:
        """The image of a poisoned pair, from that of the pair `origin`."""
        if pair.image:
            return self.chosen[pair.image]
        return self.triggers[pair.trigger](image, pair.origin)

    def poisoned(self, source: ImageSource) -> ImageSource:
        """The source with the manifest's pairs changed."""
        if not self.manifest.pairs:
            return source
        return poison.PoisonedSource(source, self.manifest, self.change)
