"""A made-up model for tests of evaluations: vectors that lean towards their class."""

import numpy as np

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.evaluation.task import Embedded

SIDE = 4


def unit(seed, size):
    x = np.random.default_rng(seed).standard_normal(size)
    return (x / np.linalg.norm(x)).astype(np.float32)


class Pictures(ImageSource):
    """Pictures of so many classes in turn; the first pixel is the index, the second the class."""

    def __init__(self, count, classes, start=0):
        names = [f"class {i}" for i in range(classes)]
        labels = np.arange(count, dtype=np.int32) % classes
        keys = [f"{start + i:04d}" for i in range(count)]
        super().__init__(Columns([f"a {names[i]}, {k}" for i, k in zip(labels, keys, strict=True)],
                                 keys, labels, names))  # fmt: skip
        self.start = start

    def image(self, index):
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        picture[0, 0], picture[0, 1] = (self.start + index) % 256, self.labels[index]
        return picture


def fake_source(classes, count, learn=0, size=24, noise=1.2):
    """A source and both embedding functions."""
    towards = np.stack([unit(1000 + c, size) for c in range(classes)])

    def embed_images(images, trigger=None):
        pictures = [images.image(i) for i in range(len(images))]
        if trigger is not None:
            pictures = [trigger(picture, i) for i, picture in enumerate(pictures)]
        rows = [
            towards[p[0, 1, 0]] + noise * unit(int(p[0, 0, 0]) + 7 * int(p[0, 1, 0]), size)
            for p in pictures
        ]
        vectors = np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)
        return Embedded(vectors, np.arange(len(images)))

    def embed_texts(texts):
        return np.stack([towards[int(t.split("class ")[1].split(",")[0])] for t in texts])

    names = [f"class {i}" for i in range(classes)]
    to_learn = (lambda: (Pictures(learn, classes, start=count), None)) if learn else None
    source = HeldOut("fake", Pictures(count, classes), names, [[f"a {n}"] for n in names], to_learn)
    return source, embed_images, embed_texts
