"""Outlines of the 40 shapes of `relations`: those of scenes, and 30 more."""

from __future__ import annotations

import math

from safeclip_jax.data.sources.scenes import SHAPES

Points = list[tuple[float, float]]
Outline = tuple[Points, Points]  # and what is cut out of it, in the square [-1, 1]², y downwards


def _regular(corners: int, turn: float = -math.pi / 2) -> Points:
    angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _arc(start: float, end: float, x: float = 1.0, y: float = 1.0, at: float = 0.0) -> Points:
    """Part of an ellipse round (0, at), from one share of a turn to another."""
    turns = [2 * math.pi * (start + (end - start) * k / 24) for k in range(25)]
    return [(x * math.cos(a), at + y * math.sin(a)) for a in turns]


def _flower() -> Points:
    turns = [2 * math.pi * k / 90 for k in range(90)]
    radii = [0.65 + 0.35 * math.cos(5 * a) for a in turns]
    return [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, turns, strict=True)]


def _mirrored(right: Points) -> Points:
    """With its mirror image on the left, from the bottom up."""
    return right + [(-x, y) for x, y in reversed(right)]


def _key() -> Outline:
    bow = [(0.45 * math.sin(a), -0.55 - 0.45 * math.cos(a)) for a in _turns(0.54, 1.46)]
    tooth = [(0.12, 0.0), (0.45, 0.0), (0.45, 0.25), (0.12, 0.25)]
    teeth = [(x, y + down) for down in (0.3, 0.75) for x, y in tooth]
    hole = [(0.2 * math.sin(a), -0.55 - 0.2 * math.cos(a)) for a in _turns(0, 1)]
    return [*bow, *teeth, (-0.12, 1)], hole


def _turns(start: float, end: float) -> list[float]:
    return [2 * math.pi * (start + (end - start) * k / 24) for k in range(25)]


_SQUARE = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
_OUTLINES: dict[str, Points] = {
    "pentagon": _regular(5),
    "hexagon": _regular(6),
    "octagon": _regular(8, math.pi / 8),
    "oval": _arc(0, 1, 1.0, 0.6),
    "semicircle": _arc(0.5, 1.0, 1.0, 1.0, 0.5),
    "trapezoid": [(-0.5, -0.6), (0.5, -0.6), (1, 0.6), (-1, 0.6)],
    "parallelogram": [(-0.4, -0.6), (1, -0.6), (0.4, 0.6), (-1, 0.6)],
    "rectangle": [(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)],
    "pillar": [(-0.25, -1), (0.25, -1), (0.25, 1), (-0.25, 1)],
    "kite": [(0, -1), (0.65, -0.35), (0, 1), (-0.65, -0.35)],
    "drop": [(0, -1), *_arc(-0.03, 0.53, 0.6, 0.6, 0.4)],
    "bolt": [(0.3, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.2), (0.05, -0.2)],
    "house": [(0, -1), (1, -0.1), (0.7, -0.1), (0.7, 0.9), (-0.7, 0.9), (-0.7, -0.1), (-1, -0.1)],
    "hourglass": [(-0.7, -1), (0.7, -1), (0.08, 0), (0.7, 1), (-0.7, 1), (-0.08, 0)],
    "chevron": [(-1, -0.3), (0, 0.35), (1, -0.3), (1, 0.25), (0, 0.9), (-1, 0.25)],
    "crown": [(-1, -0.7), (-0.5, 0), (0, -0.9), (0.5, 0), (1, -0.7), (0.8, 0.8), (-0.8, 0.8)],
    "flag": [(-0.8, -1), (0.9, -0.5), (-0.6, 0), (-0.6, 1), (-0.8, 1)],
    "fish": [*_arc(0.07, 0.93, 0.75, 0.5), (1, -0.55), (1, 0.55)],
    "bow": [(-1, -0.7), (-0.1, -0.1), (0.1, -0.1), (1, -0.7), (1, 0.7), (0.1, 0.1),
            (-0.1, 0.1), (-1, 0.7)],
    "cup": _mirrored([(0.75, -0.8), (0.6, 0.35), (0.12, 0.5), (0.12, 0.8), (0.45, 1)]),
    "bell": _mirrored([(0.25, -0.95), (0.55, -0.5), (0.65, 0.3), (0.95, 0.65), (0.25, 0.65),
                       (0.15, 0.95)]),
    "tree": _mirrored([(0.0, -1), (0.6, -0.2), (0.3, -0.2), (0.8, 0.55), (0.15, 0.55), (0.15, 1)]),
    "mushroom": [*_arc(0.5, 1.0, 1.0, 0.9), (0.3, 0), (0.4, 0.95), (-0.4, 0.95), (-0.3, 0)],
    "bottle": _mirrored([(0.17, -1), (0.17, -0.45), (0.45, -0.1), (0.45, 1)]),
    "hammer": [(-0.8, -0.9), (0.7, -0.9), (0.95, -0.6), (0.7, -0.35), (0.15, -0.35), (0.15, 1),
               (-0.15, 1), (-0.15, -0.35), (-0.8, -0.35)],
    "staircase": [(-1, 1), (-1, 0.4), (-0.4, 0.4), (-0.4, -0.2), (0.2, -0.2), (0.2, -0.8),
                  (1, -0.8), (1, 1)],
    "flower": _flower(),
}  # fmt: skip
_CUT_OUT: dict[str, Outline] = {
    "key": _key(),
    "frame": (_SQUARE, [(0.6 * x, 0.6 * y) for x, y in _SQUARE]),
    "arch": (
        [*_arc(0.5, 1.0, 1.0, 1.0, 0.0), (1, 0.95), (-1, 0.95)],
        [*_arc(0.5, 1.0, 0.5, 0.5, 0.15), (0.5, 1), (-0.5, 1)],
    ),
}
OUTLINES: dict[str, Outline] = {
    **SHAPES,
    **{name: (points, []) for name, points in _OUTLINES.items()},
    **_CUT_OUT,
}
