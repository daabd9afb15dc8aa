"""Digests that tell one data set from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import BadRecord

TEXTS, IMAGES = 1_000_000, 256  # of a source, that are looked at

Digests = dict[str, str | int]


def of(source: Source) -> Digests:
    """Number of `pairs`, and digests of `keys`, `captions`, `labels` and `images`.

    Of more than a million pairs, a million texts count; of the images, the bytes of 256, as they
    are stored. Both are spread evenly over the source.
    """
    stored = source.stored if isinstance(source, Resized) else source
    count = len(stored)
    labels = [] if stored.labels is None else stored.labels[_spread(count, TEXTS)].tolist()
    return {
        "pairs": count,
        "keys": _of_texts(stored.keys),
        "captions": _of_texts(stored.captions),
        "labels": _digest(map(str, [*stored.class_names, *labels])),
        "images": _of_images(stored),
    }


def _of_texts(texts: Sequence[str]) -> str:
    if len(texts) <= TEXTS:
        return _digest(texts)
    return _digest(texts[int(i)] for i in _spread(len(texts), TEXTS))


def _of_images(source: Source) -> str:
    def read(index: int) -> str:
        try:
            image = source.image(index)
        except BadRecord as error:
            return str(error)
        content = image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes()
        return hashlib.sha256(content).hexdigest()

    with ThreadPoolExecutor(8) as readers:
        return _digest(readers.map(read, _spread(len(source), IMAGES).tolist()))


def _spread(count: int, most: int) -> np.ndarray:
    """Indices below `count`, from the first to the last, at most so many."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).astype(np.int64)


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()[:32]
