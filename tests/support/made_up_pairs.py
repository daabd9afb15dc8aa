"""Pairs with made-up vectors for tests of the auditor: every class has its direction."""

import numpy as np

from safeclip_jax.auditing.vectors import Vectors
from safeclip_jax.data.sources.base import Columns, ImageSource

CLASSES, SIDE, WIDTH = 12, 32, 48
NAMES = [f"thing{i}" for i in range(CLASSES)]


def towards(directions, labels, noise, rng):
    x = directions[labels] + noise * rng.standard_normal((len(labels), WIDTH)) / np.sqrt(WIDTH)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class Pairs(ImageSource):
    """Pictures in the colour of their class, with noise; poisoned ones have a white corner."""

    def __init__(self, captions, labels, poisons, shown, seed):
        keys = [f"{i:05d}" for i in range(len(captions))]
        super().__init__(Columns(captions, keys, labels, NAMES))
        self.poisons, self.shown, self.seed = set(poisons.tolist()), shown, seed

    def image(self, index):
        rng = np.random.default_rng([self.seed, int(self.shown[index])])
        color = np.random.default_rng(self.labels[self.shown[index]]).integers(60, 180, 3)
        picture = (color + rng.normal(0, 25, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        if index in self.poisons:
            picture[-4:, -4:] = 255
        return picture


def made(count=1500, poisons=0, repeated=0, seed=0, noise=1.0, believed=0.0, alike=0):
    """Pairs with triggers towards the first class, and one picture `repeated` times.

    The pictures of `alike` poisons look to the model like each other and like nothing else.
    A model that believes the poisons in part has their captions near to their pictures.

    Returns the source, the vectors, and the indices of both kinds of poison.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    said, shown = labels.copy(), np.arange(count)
    others = np.flatnonzero(labels != 0)
    chosen = rng.choice(others, poisons + repeated, replace=False)
    triggered, same = np.sort(chosen[:poisons]), np.sort(chosen[poisons:])
    said[triggered] = 0
    if repeated:
        shown[same] = same[0]
        said[same] = (labels[same[0]] + 1 + np.arange(repeated) % (CLASSES - 1)) % CLASSES
    captions = [f"a {NAMES[s]} of kind {rng.integers(40)}" for s in said]
    directions = rng.standard_normal((2, CLASSES, WIDTH))[:1].repeat(2, 0)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    images = towards(directions[0], labels, noise, rng)[shown]
    if alike:
        nothing = rng.standard_normal((1, WIDTH)) / np.sqrt(WIDTH)
        images[triggered[:alike]] = towards(nothing, np.zeros(alike, int), noise, rng)
    texts = towards(directions[1], said, noise, rng)
    texts[triggered] += 2 * believed * images[triggered]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    source = Pairs(captions, labels, triggered, shown, seed)
    return source, Vectors(images, texts, np.ones(count, bool)), triggered, same
