"""Vectors of whole sources: decoded in threads, embedded on all devices, never all in memory."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import grain
import jax
import numpy as np

from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data import skipped
from safeclip_jax.data.pipeline import ImageReader
from safeclip_jax.data.sources.base import ImageSource, Rejected
from safeclip_jax.data.tokenizer import Tokenizer
from safeclip_jax.distributed import sharding
from safeclip_jax.evaluation.task import Embedded
from safeclip_jax.inference.embedder import Embedder
from safeclip_jax.models.clip import Variables

_IN_FLIGHT = 2
_PREFETCHED = 4


@dataclass
class Reading:
    """How images are read.

    Attributes:
      batch: images at a time, all devices together.
      size: their side in pixels.
      cache_bytes: keep a source's decoded images in memory if they take no more.
      threads: batches that each host decodes at once.
      max_skipped_share: of a source's images; if more cannot be used that is an error.
      progress: hears how many images of how many are embedded.
      skipped: why images could not be used, by key; of this host's.
    """

    batch: int
    size: int
    cache_bytes: int = 0
    threads: int = 2
    max_skipped_share: float = 0.1
    progress: Callable[[int, int], None] = lambda done, total: None
    skipped: dict[str, str] = field(default_factory=dict)
    _readers: dict[int, tuple[ImageSource, ImageReader]] = field(default_factory=dict)

    def batches(
        self, images: ImageSource, trigger: Trigger | None
    ) -> Iterator[dict[str, np.ndarray]]:
        """This host's slices of equal batches of all images; the last one is filled up.

        Yields:
          `image` uint8 [b, S, S, 3] and `valid` bool [b], whether it can be used.
        """
        reader = self._reader(images)
        share = self.batch // jax.process_count()
        first = share * jax.process_index()

        def make(step: int) -> tuple[dict[str, np.ndarray], dict[int, str]]:
            start = step * self.batch + first
            index = np.minimum(np.arange(start, start + share), len(images) - 1)
            pixels, bad = reader(index)
            if trigger is not None:
                pixels = np.stack([trigger(p, int(i)) for p, i in zip(pixels, index, strict=True)])
            return {"image": pixels, "valid": np.array([int(i) not in bad for i in index])}, bad

        steps = -(-len(images) // self.batch)
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=_PREFETCHED)
        for batch, bad in grain.MapDataset.range(steps).map(make).to_iter_dataset(options):
            self.skipped |= {images.keys[i]: why for i, why in bad.items()}
            yield batch

    def _reader(self, images: ImageSource) -> ImageReader:
        if id(images) not in self._readers:
            reader = ImageReader(images, self.size, self.cache_bytes)
            self._readers[id(images)] = images, reader  # the source stays, and so does its id
        return self._readers[id(images)][1]


@dataclass
class Embedding:
    """A model's weights, as tasks use them: `images` and `texts` make vectors.

    A source without a trigger is embedded once.
    """

    embedder: Embedder
    variables: Variables
    tokenizer: Tokenizer
    reading: Reading
    _known: dict[int, Embedded] = field(default_factory=dict)

    def images(self, images: ImageSource, trigger: Trigger | None = None) -> Embedded:
        """Vectors of a source's images, see `task.EmbedImages`.

        Raises:
          UserError: if too many of them cannot be used.
        """
        if trigger is not None:
            return self._embed(images, trigger)
        if id(images) not in self._known:
            self._known[id(images)] = self._embed(images, None)
        return self._known[id(images)]

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, see `task.EmbedTexts`."""
        tokens = self.tokenizer.encode(list(texts))
        return self.embedder.texts(self.variables, tokens, self.reading.batch)

    def _embed(self, images: ImageSource, trigger: Trigger | None) -> Embedded:
        flight: collections.deque = collections.deque()
        vectors, valid = [], []

        def land(left: int) -> None:
            while len(flight) > left:
                batch_vectors, batch_valid = flight.popleft()
                vectors.append(sharding.to_host(batch_vectors))
                valid.append(sharding.to_host(batch_valid))
                done = min(len(vectors) * self.reading.batch, len(images))
                self.reading.progress(done, len(images))

        for batch in self.reading.batches(images, trigger):
            placed = sharding.to_devices(batch, self.embedder.mesh)
            flight.append(
                (self.embedder.on_images(self.variables, placed["image"]), placed["valid"])
            )
            land(_IN_FLIGHT)
        land(0)
        usable = np.flatnonzero(np.concatenate(valid)[: len(images)])
        self._check(images, len(images) - len(usable))
        return Embedded(np.concatenate(vectors)[usable], usable)

    def _check(self, images: ImageSource, bad: int) -> None:
        known = [Rejected(key, why) for key, why in self.reading.skipped.items()]
        last = known[-1] if known else None
        skipped.check(images, bad, self.reading.max_skipped_share, last)
