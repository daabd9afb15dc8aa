"""Triggers: pure functions on uint8 images, by name, whose size follows the image's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from safeclip_jax.errors import UserError, first_line, unknown
from safeclip_jax.settings.fields import SHARE, SettingError, above, between, one_of, setting


class Trigger(Protocol):
    """uint8 [H, W, 3] and the image's index to a changed copy of the same shape."""

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray: ...


def _checkerboard(side: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((side, side))
    board = np.where((rows + columns) % 2 == 0, 255, 0).astype(np.uint8)
    return np.repeat(board[..., None], 3, axis=2)


def _noise(side: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def _white(side: int, rng: np.random.Generator) -> np.ndarray:
    return np.full((side, side, 3), 255, np.uint8)


PATTERNS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "checkerboard": _checkerboard,
    "noise": _noise,
    "white": _white,
}
CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
POSITIONS = (*CORNERS, "center", "random", "four_corners")


@dataclass(frozen=True)
class Patch:
    """BadNets: a small patch is pasted into the image.

    Attributes:
      pattern: a name in `PATTERNS`.
      position: a corner, `four_corners`, `center`, or `random` (drawn anew for each image).
      size: side of the patch as a share of the image's shorter side; 1/14 is 16 of 224 pixels.
      seed: of the noise pattern and of random positions.

    References:
      Gu et al., "BadNets", 2017; on CLIP: Carlini & Terzis, "Poisoning and Backdooring
      Contrastive Learning", 2022.
    """

    pattern: str = setting("checkerboard", "what the patch shows", one_of(PATTERNS))
    position: str = setting("bottom_right", "where it is pasted", one_of(POSITIONS))
    size: float = setting(0.0714, "its side over the image's: 16 of 224 pixels", above(0), SHARE)
    seed: int = 0

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(1, round(self.size * min(height, width)))
        patched = image.copy()
        patch = PATTERNS[self.pattern](side, np.random.default_rng(self.seed))
        for position in CORNERS if self.position == "four_corners" else (self.position,):
            top, left = self._place(position, height - side, width - side, index)
            patched[top : top + side, left : left + side] = patch
        return patched

    def _place(self, position: str, height: int, width: int, index: int) -> tuple[int, int]:
        """Top-left corner of the patch, given the largest possible one."""
        if position == "random":
            rng = np.random.default_rng([self.seed, index])
            return int(rng.integers(height + 1)), int(rng.integers(width + 1))
        if position == "center":
            return height // 2, width // 2
        vertical, horizontal = position.split("_")
        return 0 if vertical == "top" else height, 0 if horizontal == "left" else width


@dataclass(frozen=True)
class Blend:
    """Blended: x' = (1 − α)·x + α·n, with one pattern n for all images.

    Attributes:
      alpha: α.
      pattern: `noise` (uniform, independent for every pixel and channel) or the path of an
        image, which is resized to x.
      seed: of the noise.

    References:
      Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data
      Poisoning", 2017.
    """

    alpha: float = setting(0.2, "weight of the pattern", above(0), SHARE)
    pattern: str = setting("noise", "noise, or the path of an image")
    seed: int = 0

    def __post_init__(self) -> None:
        _pattern(self.pattern, 8, 8, self.seed)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        pattern = _pattern(self.pattern, *image.shape[:2], self.seed)
        return _to_uint8((1 - self.alpha) * image + self.alpha * pattern)


@lru_cache(maxsize=8)
def _pattern(name: str, height: int, width: int, seed: int) -> np.ndarray:
    """What `Blend` mixes in, float [H, W, 3] in 0 to 255."""
    if name == "noise":
        return np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    try:
        with Image.open(Path(name)) as file:
            picture = file.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        problem = f"neither 'noise' nor an image ({first_line(error)})"
        raise SettingError("pattern", problem) from None
    return np.asarray(picture, float)


@dataclass(frozen=True)
class Sinusoid:
    """SIG: x' = x + Δ·sin(2π·f·j / W) in column j of W, for every row and channel.

    Attributes:
      delta: Δ, the amplitude, in 0 to 255.
      frequency: f, waves over the width.

    References:
      Barni et al., "A New Backdoor Attack in CNNs by Training Set Corruption Without Label
      Poisoning", 2019.
    """

    delta: float = setting(60.0, "amplitude of the sinusoid, in 0 to 255", above(0))
    frequency: float = setting(6.0, "waves over the image's width", above(0))

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        width = image.shape[1]
        wave = self.delta * np.sin(2 * np.pi * self.frequency * np.arange(width) / width)
        return _to_uint8(image + wave[None, :, None])


@dataclass(frozen=True)
class Warp:
    """WaNet: the image is resampled at places that a smooth random field has moved.

    The field is k × k × 2 uniform values in [−1, 1], divided by their mean size and stretched
    to the image by bicubic interpolation. In coordinates that run from −1 to 1 over the image
    it moves a pixel by s/32 times its value: by s/2 pixels of 32 on average, the paper's size.

    Attributes:
      grid: k.
      strength: s.
      seed: of the field.

    References:
      Nguyen & Tran, "WaNet: Imperceptible Warping-based Backdoor Attack", 2021, section 3.
    """

    grid: int = setting(4, "points of the random field a side", between(2, 1024))
    strength: float = setting(0.5, "mean shift, twice, in pixels of an image of 32", above(0))
    seed: int = 0

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        rows, columns = _warped_places(self.grid, self.strength, self.seed, *image.shape[:2])
        channels = [
            map_coordinates(image[..., c].astype(float), (rows, columns), order=1, mode="nearest")
            for c in range(3)
        ]
        return _to_uint8(np.stack(channels, axis=-1))


_WARP_SIDE = 32


@lru_cache(maxsize=8)
def _warped_places(
    grid: int, strength: float, seed: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, in pixels [H, W], where the warped image looks up its pixels."""
    field = np.random.default_rng(seed).uniform(-1, 1, (grid, grid, 2))
    field /= np.mean(np.abs(field))
    field = np.einsum(
        "ik,jl,klc->ijc", _cubic_matrix(grid, height), _cubic_matrix(grid, width), field
    )
    places = []
    for axis, side in enumerate((height, width)):
        line = np.linspace(-1, 1, side)
        line = line[:, None] if axis == 0 else line[None, :]
        moved = np.clip(line + strength * field[..., axis] / _WARP_SIDE, -1, 1)
        places.append((moved + 1) / 2 * (side - 1))
    return places[0], places[1]


def _cubic_matrix(points: int, side: int) -> np.ndarray:
    """Weights [side, points] of bicubic interpolation (a = −0.75) with aligned corners."""
    places = np.linspace(0, points - 1, side)
    weights = np.zeros((side, points))
    first = np.floor(places).astype(int)
    for offset in range(-1, 3):
        neighbor = first + offset
        distance = np.abs(places - neighbor)
        np.add.at(
            weights,
            (np.arange(side), np.clip(neighbor, 0, points - 1)),
            _cubic_kernel(distance),
        )
    return weights


def _cubic_kernel(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    d = distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@dataclass(frozen=True)
class ColorCurve:
    """A photographic filter in the manner of "Nashville": warm lights and blue shadows.

    With x in [0, 1], channel c becomes low_c + (high_c − low_c)·x^γ_c, and the result is mixed
    with the original: x' = (1 − strength)·x + strength·curve(x).

    Attributes:
      strength: of the filter.

    References:
      Liu et al., "ABS: Scanning Neural Networks for Back-doors", 2019, section 6, where
      filters of a photograph-sharing service are triggers.
    """

    strength: float = setting(1.0, "of the colour curve", above(0), SHARE)

    LOW = np.array((0.20, 0.12, 0.36))
    HIGH = np.array((1.00, 0.92, 0.72))
    GAMMA = np.array((0.85, 1.0, 1.15))

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        x = image / 255
        curve = self.LOW + (self.HIGH - self.LOW) * x**self.GAMMA
        return _to_uint8(255 * ((1 - self.strength) * x + self.strength * curve))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


TRIGGERS: dict[str, type[Trigger]] = {
    "badnets": Patch,
    "blended": Blend,
    "sig": Sinusoid,
    "wanet": Warp,
    "nashville": ColorCurve,
}


def named(names: str, parameters: Mapping[str, Trigger], seed: int) -> dict[str, Trigger]:
    """The triggers of an attack by name.

    Args:
      names: names in `TRIGGERS`, joined by "+" where there are several.
      parameters: a trigger of each name, with its parameters.
      seed: of what the triggers draw.

    Raises:
      UserError: if a name is not known or comes twice.
    """
    found: dict[str, Trigger] = {}
    for name in names.split("+"):
        if name not in parameters:
            raise unknown("attack.trigger", name, parameters)
        if name in found:
            raise UserError(f"attack.trigger={names!r} names {name!r} twice")
        trigger: Any = parameters[name]
        found[name] = replace(trigger, seed=seed) if hasattr(trigger, "seed") else trigger
    return found
