"""Batches for a stage: an index array in, uint8 images and token ids out.

One Grain element is one batch. Batch k of a stage is a function of (seed, epoch, stage,
k) and of the stage's index array, so a resumed run starts at any step without replay.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np

from safeclip_jax.data import augment_text
from safeclip_jax.data.sources.base import BadRecord, Source
from safeclip_jax.data.tokenizer import Tokenizer
from safeclip_jax.errors import UserError

Batch = dict[str, np.ndarray]


class SkippedRecords:
    """Counts records that could not be used and lists them, with reasons, in a file.

    Raises:
      UserError: from `add`, once more than `max_share` of all records are bad.
    """

    def __init__(self, total: int, max_share: float, path: Path | None = None):
        self._limit = max_share * total
        self._max_share = max_share
        self._path = path
        self._lock = threading.Lock()
        self.reasons: dict[int, str] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self.reasons[record["index"]] = record["reason"]

    def add(self, index: int, key: str, reason: str) -> None:
        with self._lock:
            if index in self.reasons:
                return
            self.reasons[index] = reason
            if self._path is not None:
                record = {"index": index, "key": key, "reason": reason}
                with self._path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
        if len(self.reasons) > self._limit:
            where = f"; all are listed in {self._path}" if self._path else ""
            raise UserError(
                f"{len(self.reasons)} records cannot be used, more than data.max_skipped_share="
                f"{self._max_share} allows (the last: {key}: {reason}){where}"
            )


class ImageReader:
    """Reads images of one size from a source, keeping them in memory if they fit."""

    def __init__(self, source: Source, size: int, cache_bytes: int, skipped: SkippedRecords):
        self._source = source
        self._shape = (size, size, 3)
        self._skipped = skipped
        fits = len(source) * size * size * 3 <= cache_bytes
        self._cache = np.empty((len(source), *self._shape), np.uint8) if fits else None
        self._cached = np.zeros(len(source), bool)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns uint8 [len(indices), size, size, 3]."""
        if self._cache is None:
            return np.stack([self._read(int(i)) for i in indices])
        for i in indices[~self._cached[indices]]:
            self._cache[i] = self._read(int(i))
            self._cached[i] = True
        return self._cache[indices]

    def _read(self, index: int) -> np.ndarray:
        try:
            image = self._source[index].image
        except BadRecord as reason:
            self._skipped.add(index, self._source.keys[index], str(reason))
            return np.zeros(self._shape, np.uint8)
        if image.shape != self._shape or image.dtype != np.uint8:
            raise UserError(
                f"pair {self._source.keys[index]} is {image.dtype} {image.shape}, "
                f"expected uint8 {self._shape}: does the source resize to model.image_size?"
            )
        return image


@dataclass(frozen=True)
class Loader:
    """Everything that turns pair indices into batches.

    Attributes:
      captions: of all pairs.
      images: reads images by pair index.
      tokenizer: encodes captions.
      seed: of the run.
      threads: batches that are made at once.
      process, processes: this host's place among the hosts.
    """

    captions: list[str]
    images: ImageReader
    tokenizer: Tokenizer
    seed: int
    threads: int
    process: int = 0
    processes: int = 1

    def training_batches(
        self,
        pairs: np.ndarray,
        batch_size: int,
        place: tuple[int, int],
        text_views: int,
        augment_text: bool,
        start: int = 0,
    ) -> Iterator[Batch]:
        """Iterates over one stage's batches, shuffled, without the incomplete last one.

        Args:
          pairs: the stage's pair indices.
          batch_size: pairs in a global batch; each process gets its equal slice.
          place: (epoch, stage), from which the order and the caption views derive.
          text_views: caption views a pair.
          augment_text: whether the views are augmented.
          start: batches to leave out, for a resumed run.

        Yields:
          `index` int32 [b], `image` uint8 [b, S, S, 3], `tokens` int32 [b, views, L].
        """
        order = stage_order(pairs, batch_size, (self.seed, *place))

        def make(step: int) -> Batch:
            index = self._slice(order[step * batch_size : (step + 1) * batch_size])
            views = [
                self._encode(index, (*place, view) if augment_text else None)
                for view in range(text_views)
            ]
            return {"index": index, "image": self.images(index), "tokens": np.stack(views, 1)}

        return self._iterate(make, start, len(order) // batch_size)

    def scoring_batches(self, pairs: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """Iterates over all pairs in the given order; the last batch is filled from the front."""
        padded = pad_to_multiple(pairs, batch_size)

        def make(step: int) -> Batch:
            index = self._slice(padded[step * batch_size : (step + 1) * batch_size])
            return {"index": index, "image": self.images(index), "tokens": self._encode(index)}

        return self._iterate(make, 0, len(padded) // batch_size)

    def _iterate(self, make, start: int, stop: int) -> Iterator[Batch]:
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=4)
        steps = grain.MapDataset.range(start, stop).map(make)
        return iter(steps.to_iter_dataset(options))

    def _slice(self, batch: np.ndarray) -> np.ndarray:
        share = len(batch) // self.processes
        return batch[self.process * share : (self.process + 1) * share]

    def _encode(self, index: np.ndarray, view: tuple[int, ...] | None = None) -> np.ndarray:
        captions = [self.captions[i] for i in index]
        if view is not None:
            captions = [
                augment_text.augment(caption, np.random.default_rng([self.seed, *view, int(i)]))
                for caption, i in zip(captions, index, strict=True)
            ]
        return self.tokenizer.encode(captions)


def stage_order(pairs: np.ndarray, batch_size: int, seed: tuple[int, ...]) -> np.ndarray:
    """Shuffles a stage's pairs and cuts them to whole batches, int32.

    Pairs that do not fill a batch are left out; the shuffle leaves out others each
    epoch. A stage smaller than one batch repeats its pairs to fill one.
    """
    order = np.random.default_rng(seed).permutation(np.asarray(pairs, np.int32))
    if 0 < len(order) < batch_size:
        return np.resize(order, batch_size)
    return order[: len(order) // batch_size * batch_size]


def steps_in_stage(pairs: int, batch_size: int) -> int:
    """Number of batches that `stage_order` makes of this many pairs."""
    return max(pairs // batch_size, min(pairs, 1))


def pad_to_multiple(indices: np.ndarray, multiple: int) -> np.ndarray:
    """Repeats leading entries until the length is a multiple, int32."""
    length = -(-len(indices) // multiple) * multiple
    return np.resize(np.asarray(indices, np.int32), length)
