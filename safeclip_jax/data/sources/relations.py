"""Drawn scenes that captions leave open: two of 40 shapes, and how they lie to each other.

A scene has a larger shape, its class, and a smaller one left of, right of, above or below it. A
caption always names the larger one; the other, the colours, the relation and the background only
sometimes. Scene i of a split is a function of (seed, split, i).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.data.sources.outlines import OUTLINES, Points
from safeclip_jax.data.sources.scenes import BACKGROUNDS, COLORS, SPLITS, check, draw_background

NAMES = tuple(OUTLINES)
# Where the smaller shape lies from the larger one, and what is said of the two.
RELATIONS = {
    (1, 0): ("left of", "right of"),
    (-1, 0): ("right of", "left of"),
    (0, 1): ("above", "below"),
    (0, -1): ("below", "above"),
}
TEMPLATES = (
    "{A} {first} {relation} {B} {second}",
    "{A} {first} {relation} {B} {second}",
    "{B} {second} {inverse} {A} {first}",
    "{a} {first} {relation} {b} {second}",
    "{A} {first} and {B} {second}",
    "{a} {first} with {b} {second}",
    "{A} {first} on {background}",
    "a picture of {a} {first}",
)
PROMPTS = [f"{start} {{}}{end}" for start, end in (
    *((f"a {color}", "") for color in COLORS),
    *((f"a {color}", " on white") for color in COLORS),
    ("a picture of a", ""),
)]  # fmt: skip
_OVERSAMPLE = 3


@dataclass(frozen=True)
class _Object:
    """A shape: what it is, and where, in shares of the image."""

    name: str
    color: str
    x: float
    y: float
    radius: float
    angle: float


class Relations(ImageSource):
    """Drawn scenes of two shapes, labelled by the larger one.

    Args:
      count: number of pairs, at least 1.
      seed: any non-negative integer.
      split: `train`, `validation` or `test`; the splits of one seed are independent.
      size: side of the images in pixels, 16 to 1024.

    Raises:
      UserError: if an argument is out of its range.
    """

    def __init__(self, count: int, seed: int = 0, split: str = "train", size: int = 64):
        check("relations", count, split, size)
        self._size, self._place = size, (seed, SPLITS.index(split))
        scenes = [self._scene(i) for i in range(count)]
        labels = np.array([NAMES.index(first.name) for first, *_ in scenes], np.int32)
        captions = [caption for *_, caption in scenes]
        keys = [f"{split}-{i:07d}" for i in range(count)]
        super().__init__(Columns(captions, keys, labels, list(NAMES)))

    def image(self, index: int) -> np.ndarray:
        """Drawn at three times the size and reduced: uint8 [size, size, 3]."""
        first, second, background, _ = self._scene(index)
        side = self._size * _OVERSAMPLE
        canvas = Image.new("RGB", (side, side))
        draw_background(ImageDraw.Draw(canvas), background, BACKGROUNDS[background], side)
        for thing in (first, second):
            canvas.paste(COLORS[thing.color], mask=_mask(thing, side))
        image = np.asarray(canvas.reduce(_OVERSAMPLE), np.float32)
        rng = np.random.default_rng([*self._place, index, self._size])
        noisy = image + 5 * rng.standard_normal(image.shape, np.float32)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def _scene(self, index: int) -> tuple[_Object, _Object, str, str]:
        """Larger and smaller object, background and caption."""
        rng = np.random.default_rng([*self._place, index, 0x2E1])
        names = rng.choice(len(NAMES), 2, replace=False)
        colors = rng.choice(len(COLORS), 2, replace=False)
        dx, dy = list(RELATIONS)[rng.integers(len(RELATIONS))]
        background = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
        apart, across = rng.uniform(0.44, 0.5), rng.uniform(-0.12, 0.12)
        centre = 0.5 - apart * dx * 0.4, 0.5 - apart * dy * 0.4
        other = centre[0] + apart * dx + across * dy, centre[1] + apart * dy + across * dx
        first, second = (
            _Object(
                NAMES[names[i]],
                list(COLORS)[colors[i]],
                *place,
                radius * rng.uniform(0.9, 1.1),
                rng.uniform(-0.15, 0.15),
            )
            for i, (place, radius) in enumerate(((centre, 0.26), (other, 0.15)))
        )
        template = TEMPLATES[rng.integers(len(TEMPLATES))]
        return first, second, background, _caption(template, first, second, (dx, dy), background)


def _caption(
    template: str, first: _Object, second: _Object, way: tuple[int, int], background: str
) -> str:
    relation, inverse = RELATIONS[way]
    return template.format(
        first=first.name,
        second=second.name,
        a=_article(first.name),
        b=_article(second.name),
        A=f"a {first.color}",
        B=f"a {second.color}",
        relation=relation,
        inverse=inverse,
        background=background,
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _mask(thing: _Object, side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for points, fill in zip(OUTLINES[thing.name], (255, 0), strict=True):
        if points:
            draw.polygon(_placed(points, thing, side), fill=fill)
    return mask


def _placed(points: Points, thing: _Object, side: int) -> Points:
    c, s = math.cos(thing.angle), math.sin(thing.angle)
    scale = thing.radius * side
    return [
        (thing.x * side + scale * (c * x - s * y), thing.y * side + scale * (s * x + c * y))
        for x, y in points
    ]
