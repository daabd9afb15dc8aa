"""Captioned scenes drawn from a seed: data that comes with the program.

A scene is one coloured shape on a background, at the top, in the middle or at the
bottom of the image. Its caption names the shape and the colour, and by chance the
background and the position. Scene i of a split is a function of (seed, split, i).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.errors import UserError, unknown

COLORS = {
    "red": (214, 40, 40),
    "yellow": (245, 220, 50),
    "green": (50, 160, 70),
    "blue": (40, 90, 210),
    "purple": (130, 60, 170),
    "pink": (245, 140, 190),
}
BACKGROUNDS = {
    "white": (240, 240, 240),
    "black": (20, 20, 20),
    "gray": (125, 125, 125),
    "striped": (200, 200, 200),
    "dotted": (90, 90, 90),
}
POSITIONS = ("top", "middle", "bottom")
TEMPLATES = (
    "a {color} {shape} on a {background} background",
    "a {color} {shape} at the {position} of a {background} picture",
    "a drawing of a {color} {shape} on {background}",
    "there is a {color} {shape} in the {position}, the background is {background}",
    "{background} background with a {color} {shape} at the {position}",
    "a {color} {shape} at the {position}",
    "a picture of a {color} {shape}",
    "one {color} {shape}, {background} background",
)
SPLITS = ("train", "validation", "test")
_OVERSAMPLE = 3


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    angles = [math.pi * k / points - math.pi / 2 for k in range(2 * points)]
    radii = [1.0 if k % 2 == 0 else inner for k in range(2 * points)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _disc(radius: float = 1.0, dx: float = 0.0) -> list[tuple[float, float]]:
    turns = [2 * math.pi * k / 48 for k in range(48)]
    return [(dx + radius * math.cos(a), radius * math.sin(a)) for a in turns]


def _heart() -> list[tuple[float, float]]:
    turns = [2 * math.pi * k / 48 for k in range(48)]
    return [
        (
            math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 17,
        )
        for a in turns
    ]


def _polygon(*points: tuple[float, float]) -> list[tuple[float, float]]:
    return list(points)


# Each shape is an outline and a cut-out, in the square [-1, 1]².
SHAPES: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]] = {
    "circle": (_disc(), []),
    "square": (_polygon((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)), []),
    "triangle": (_polygon((0, -1), (0.95, 0.8), (-0.95, 0.8)), []),
    "star": (_star(5, 0.4), []),
    "cross": (
        _polygon(
            *((-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)),
            *((0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)),
        ),
        [],
    ),
    "diamond": (_polygon((0, -1), (0.65, 0), (0, 1), (-0.65, 0)), []),
    "heart": (_heart(), []),
    "ring": (_disc(), _disc(0.55)),
    "moon": (_disc(), _disc(0.8, 0.5)),
    "arrow": (
        _polygon(*((0, -1), (0.9, 0), (0.35, 0), (0.35, 1)), *((-0.35, 1), (-0.35, 0), (-0.9, 0))),
        [],
    ),
}
_PROMPT_COLORS = ("red", "yellow", "green", "blue", "purple", "pink")
PROMPTS = [
    prompt
    for color in _PROMPT_COLORS
    for prompt in (
        f"a picture of a {color} {{}}",
        f"a {color} {{}} at the middle",
        f"a drawing of a {color} {{}} on white",
        f"a {color} {{}} on a black background",
    )
]


@dataclass(frozen=True)
class _Scene:
    """What is drawn; the fields index the tables above, lengths are shares of the image."""

    shape: int
    color: int
    background: int
    position: int
    template: int
    x: float
    y: float
    radius: float
    angle: float
    noise_seed: int


class Scenes(ImageSource):
    """Procedurally drawn scenes with captions and shape labels.

    Args:
      count: number of pairs, at least 1.
      seed: any non-negative integer.
      split: `train`, `validation` or `test`; the splits of one seed are independent.
      size: side of the images in pixels, 16 to 1024.

    Raises:
      UserError: if an argument is out of its range.
    """

    def __init__(self, count: int, seed: int = 0, split: str = "train", size: int = 32):
        check("scenes", count, split, size)
        self._size = size
        self._scenes = _layout(np.random.default_rng([seed, SPLITS.index(split)]), count)
        labels = np.array([scene.shape for scene in self._scenes], np.int32)
        captions = [_caption(scene) for scene in self._scenes]
        keys = [f"{split}-{i:07d}" for i in range(count)]
        super().__init__(Columns(captions, keys, labels, list(SHAPES)))

    def image(self, index: int) -> np.ndarray:
        return _draw(self._scenes[index], self._size)


def check(name: str, count: int, split: str, size: int) -> None:
    """`UserError` if scenes of that name cannot be drawn so."""
    if split not in SPLITS:
        raise unknown(f"split of {name}", split, SPLITS)
    if count < 1:
        raise UserError(f"{name}: {count} pairs asked for, at least 1 is needed")
    if not 16 <= size <= 1024:
        raise UserError(f"{name}: image size {size} is outside 16 to 1024")


def _layout(rng: np.random.Generator, count: int) -> list[_Scene]:
    """Draws the contents of `count` scenes; a longer list begins with a shorter one's scenes."""
    draws = rng.random((count, 10))
    sizes = (len(SHAPES), len(COLORS), len(BACKGROUNDS), len(POSITIONS), len(TEMPLATES))
    fields = (draws[:, :5] * sizes).astype(int)
    scenes = []
    for (shape, color, background, position, template), u in zip(
        fields.tolist(), draws[:, 5:].tolist(), strict=True
    ):
        radius = 0.3 + 0.1 * u[0]
        x = radius + u[1] * (1 - 2 * radius)
        y = radius + (position + u[2]) / 3 * (1 - 2 * radius)
        angle = (u[3] - 0.5) * 0.3
        noise = int(u[4] * 2**31)
        scenes.append(
            _Scene(shape, color, background, position, template, x, y, radius, angle, noise)
        )
    return scenes


def _caption(scene: _Scene) -> str:
    return TEMPLATES[scene.template].format(
        shape=list(SHAPES)[scene.shape],
        color=list(COLORS)[scene.color],
        background=list(BACKGROUNDS)[scene.background],
        position=POSITIONS[scene.position],
    )


def _draw(scene: _Scene, size: int) -> np.ndarray:
    """Returns the scene as uint8 [size, size, 3], drawn at three times the size and reduced."""
    side = size * _OVERSAMPLE
    canvas = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(canvas)
    name = list(BACKGROUNDS)[scene.background]
    draw_background(draw, name, BACKGROUNDS[name], side)
    color = list(COLORS.values())[scene.color]
    outline, cut_out = list(SHAPES.values())[scene.shape]
    if cut_out:
        canvas.paste(color, mask=_mask(scene, side))
    else:
        draw.polygon(_place(outline, scene, side), fill=color)
    image = np.asarray(canvas.reduce(_OVERSAMPLE), np.float32)
    rng = np.random.default_rng([scene.noise_seed, size])
    light = 1 + 0.15 * np.linspace(-1, 1, size, dtype=np.float32) * (rng.random() - 0.5)
    image = image * light[:, None, None] + 5 * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _mask(scene: _Scene, side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    outline, cut_out = list(SHAPES.values())[scene.shape]
    draw.polygon(_place(outline, scene, side), fill=255)
    if cut_out:
        draw.polygon(_place(cut_out, scene, side), fill=0)
    return mask


def draw_background(
    draw: ImageDraw.ImageDraw, name: str, color: tuple[int, int, int], side: int
) -> None:
    """Fills a square of so many pixels a side with a background of `BACKGROUNDS`."""
    draw.rectangle((0, 0, side, side), fill=color)
    step = side // 8
    darker = tuple(int(0.6 * c) for c in color)
    lighter = tuple(min(255, int(1.7 * c)) for c in color)
    if name == "striped":
        for x in range(0, side, 2 * step):
            draw.rectangle((x, 0, x + step - 1, side), fill=darker)
    elif name == "dotted":
        for x in range(step, side, 2 * step):
            for y in range(step, side, 2 * step):
                r = step // 2
                draw.ellipse((x - r, y - r, x + r, y + r), fill=lighter)


def _place(
    outline: list[tuple[float, float]], scene: _Scene, side: int
) -> list[tuple[float, float]]:
    """Rotates, scales and moves an outline from [-1, 1]² to pixels."""
    c, s = math.cos(scene.angle), math.sin(scene.angle)
    scale = scene.radius * side
    return [
        (scene.x * side + scale * (c * x - s * y), scene.y * side + scale * (s * x + c * y))
        for x, y in outline
    ]
