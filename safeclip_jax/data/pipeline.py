"""Batches for a stage: an index array in, uint8 images and token ids out.

One Grain element is one batch. Batch k of a stage is a function of (seed, epoch, stage,
k) and of the stage's index array, so a resumed run starts at any step without replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grain
import numpy as np

from safeclip_jax.data import augment_text, mapped, published_text, workers
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.data.tokenizer import Tokenizer
from safeclip_jax.data.wordnet import Synonyms
from safeclip_jax.errors import BadRecord, UserError

Batch = dict[str, np.ndarray]
Bad = dict[int, str]
_TRIES = 1000
_AT_ONCE = 4096  # captions


class ImageReader:
    """Reads images from a source, keeping them in memory if they fit.

    Args:
      source: of images of one size.
      size: their side in pixels.
      cache_bytes: keep all images if they take no more.
    """

    def __init__(self, source: ImageSource, size: int, cache_bytes: int):
        self._source = source
        self._shape = (size, size, 3)
        kept = len(source) if len(source) * size * size * 3 <= cache_bytes else 0
        self._cache = np.empty((kept, *self._shape), np.uint8) if kept else None
        self._cached = np.zeros(kept, bool)
        self._bad: Bad = {}

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, Bad]:
        """Returns uint8 [len(indices), size, size, 3] and why some could not be read.

        The pictures in place of those are black.
        """
        if self._cache is None:
            images = np.stack([self._read(int(i)) for i in indices])
        else:
            for i in indices[~self._cached[indices]]:
                self._cache[i] = self._read(int(i))
                self._cached[i] = True
            images = self._cache[indices]
        return images, {int(i): self._bad[int(i)] for i in indices if int(i) in self._bad}

    def _read(self, index: int) -> np.ndarray:
        if index in self._bad:
            return np.zeros(self._shape, np.uint8)
        try:
            return self._source.image(index)
        except BadRecord as reason:
            self._bad[index] = str(reason)
            return np.zeros(self._shape, np.uint8)


class PictureReader:
    """Reads whole pictures, each squeezed to a square.

    Args:
      source: of the pictures.
      size: side of the squares in pixels.
    """

    def __init__(self, source: ImageSource, size: int):
        self._source, self._size = source, size

    def __call__(self, indices: np.ndarray) -> tuple[Batch, Bad]:
        """Returns `image` uint8 [n, size, size, 3] and `aspect` float32 [n], width over height.

        Also why some could not be read; the pictures in place of those are black.
        """
        images = np.zeros((len(indices), self._size, self._size, 3), np.uint8)
        aspects, bad = np.ones(len(indices), np.float32), {}
        for row, index in enumerate(map(int, indices)):
            try:
                images[row], aspects[row] = self._source.picture(index, self._size)
            except BadRecord as reason:
                bad[index] = str(reason)
        return {"image": images, "aspect": aspects}, bad


@dataclass(frozen=True)
class Loader:
    """Everything that turns pair indices into batches.

    Attributes:
      captions: of all pairs.
      images: reads images by pair index.
      tokenizer: encodes captions.
      skipped: takes the pairs that cannot be used.
      seed: of the run.
      threads: batches that a process makes at once.
      workers: processes that make batches; 0, this one does.
      synonyms: for the captions' augmentation, or None.
      cache_tokens: whether to keep the token ids of all captions, as they are, in memory.
      process, processes: this host's place among the hosts.
      published_captions: whether captions are augmented as `published_text` says, each view once
        for the run; else as `augment_text` says, in each epoch.
      pictures: reads whole pictures, of which stages take augmented views; None: of the images.
    """

    captions: Sequence[str]
    images: ImageReader
    tokenizer: Tokenizer
    skipped: SkippedRecords
    seed: int
    threads: int
    workers: int = 0
    synonyms: Synonyms | None = None
    cache_tokens: bool = False
    process: int = 0
    processes: int = 1
    pictures: PictureReader | None = None
    published_captions: bool = False

    def training_batches(
        self,
        pairs: np.ndarray,
        batch_size: int,
        place: tuple[int, int],
        text_views: Sequence[bool],
        start: int = 0,
    ) -> Iterator[Batch]:
        """Iterates over one stage's batches, shuffled, without the incomplete last one.

        Another pair of the stage, drawn from the seed, takes the place of one that cannot
        be used.

        Args:
          pairs: the stage's pair indices.
          batch_size: pairs in a global batch; each process gets its equal slice.
          place: (epoch, stage), from which the order and the caption views derive.
          text_views: for each caption view of a pair, whether it is augmented.
          start: batches to leave out, for a resumed run.

        Yields:
          `index` int32 [b], `image` uint8 [b, S, S, 3], `tokens` int32 [b, views, L]; and
          `aspect` float32 [b], if the images are whole pictures.
        """
        whole = self.pictures if any(text_views) else None
        order = stage_order(pairs, batch_size, (self.seed, *place))
        if self.workers:
            pairs, order = mapped.shared(pairs), mapped.shared(order)

        def make(step: int) -> tuple[Batch, Bad]:
            index = self._slice(order[step * batch_size : (step + 1) * batch_size])
            index, images, bad = self._usable(index, pairs, whole or self._images)
            views = [
                self._encode(index, (*place, view) if augmented else None)
                for view, augmented in enumerate(text_views)
            ]
            return {"index": index, **images, "tokens": np.stack(views, 1)}, bad

        return self._iterate(make, start, len(order) // batch_size)

    def scoring_batches(
        self, pairs: np.ndarray, batch_size: int, view: tuple[int, ...] | None = None
    ) -> Iterator[Batch]:
        """Iterates over all pairs in the given order; the last batch is filled from the front.

        Args:
          pairs: indices.
          batch_size: pairs in a global batch.
          view: from which the augmentation of the captions derives; None for none.

        Yields:
          `index` int32 [b], `image` uint8 [b, S, S, 3], `tokens` int32 [b, L] and `valid`
          bool [b], whether the pair can be used; and `aspect` as `training_batches`.
        """
        read = self._images if view is None else self.pictures or self._images
        pairs = np.asarray(pairs, np.int32)
        if self.workers:
            pairs = mapped.shared(pairs)

        def make(step: int) -> tuple[Batch, Bad]:
            places = np.arange(step * batch_size, (step + 1) * batch_size)
            index = self._slice(np.take(pairs, places, mode="wrap"))
            images, bad = read(index)
            valid = np.array([int(i) not in bad for i in index])
            tokens = self._encode(index, view)
            return {"index": index, **images, "tokens": tokens, "valid": valid}, bad

        return self._iterate(make, 0, -(-len(pairs) // batch_size))

    def caption_operations(self) -> str:
        """The operations of the captions' augmentation, in words."""
        if self.published_captions:
            source = f"from {self.synonyms.folder}" if self.synonyms else "none: no thesaurus"
            return f"those of SafeCLIP's code, once for the run (synonyms {source})"
        if self.synonyms is None:
            return "insertion, swap and deletion (no thesaurus: no synonyms)"
        return f"insertion, swap, deletion and synonyms from {self.synonyms.folder}"

    def _iterate(
        self, make: Callable[[int], tuple[Batch, Bad]], start: int, stop: int
    ) -> Iterator[Batch]:
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=4)
        batches = grain.MapDataset.range(start, stop).map(make).to_iter_dataset(options)
        if self.workers:
            batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=self.workers))
            batches = workers.guarded(batches, self.workers)
        for batch, bad in batches:
            self.skipped.note(bad)
            yield batch

    def _images(self, index: np.ndarray) -> tuple[Batch, Bad]:
        images, bad = self.images(index)
        return {"image": images}, bad

    def _usable(
        self, index: np.ndarray, pairs: np.ndarray, read: Callable[[np.ndarray], tuple[Batch, Bad]]
    ) -> tuple[np.ndarray, Batch, Bad]:
        """The batch's indices and images, with others in place of those that are bad."""
        images, bad = read(index)
        found = dict(bad)
        index = index.copy()
        for row in np.flatnonzero([int(i) in bad for i in index]):
            rng = np.random.default_rng([self.seed, int(index[row]), 0x5B])
            for candidate in rng.choice(pairs, _TRIES):
                other, worse = read(np.array([candidate]))
                found |= worse
                if not worse:
                    index[row] = candidate
                    for name, value in other.items():
                        images[name][row] = value[0]
                    break
            else:
                raise UserError(
                    f"{_TRIES} pairs of the {len(pairs)} in a stage were tried and none can be "
                    "used; they are listed in skipped.jsonl"
                )
        return index, images, found

    def _slice(self, batch: np.ndarray) -> np.ndarray:
        share = len(batch) // self.processes
        return np.asarray(batch[self.process * share : (self.process + 1) * share])

    def _encode(self, index: np.ndarray, view: tuple[int, ...] | None = None) -> np.ndarray:
        """Token ids [b, L] of captions as they are, or of an augmented view of them."""
        if view is None and self.cache_tokens:
            return self._tokens[index]
        captions = [self.captions[int(i)] for i in index]
        if view is not None:
            augment = augment_text.augment
            if self.published_captions:
                augment, view = published_text.augment, view[-1:]
            captions = [
                augment(caption, augment_text.random_of(self.seed, *view, int(i)), self.synonyms)
                for caption, i in zip(captions, index, strict=True)
            ]
        return self.tokenizer.encode(captions)

    @cached_property
    def _tokens(self) -> np.ndarray:
        tokens = np.empty((len(self.captions), self.tokenizer.context), np.int32)
        for start in range(0, len(tokens), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            tokens[part] = self.tokenizer.encode(self.captions[part])
        return tokens

    def __getstate__(self) -> dict[str, Any]:
        """What worker processes receive: this one keeps the list of the pairs that are bad."""
        return self.__dict__ | {"skipped": None}


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
