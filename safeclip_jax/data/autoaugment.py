"""AutoAugment's policy for ImageNet on the device, by Pillow's operations.

What CleanCLIP's public code augments images with (`utils/augment_image.py` there). A pair of
operations is drawn, each happens with its own probability at its own strength, and the sign of a
strength is drawn. It neither crops nor flips.

References:
  Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data", 2019, table 9.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# Operation, probability, strength from 0 to 9; two of them, one after the other.
POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)
LAST = 9
Operation = Callable[[jax.Array, jax.Array], jax.Array]


def augment(images: jax.Array, keys: jax.Array) -> jax.Array:
    """Augments a batch.

    Args:
      images: float [B, S, S, 3] in [0, 1].
      keys: one PRNG key an image, shape [B].

    Returns:
      Float [B, S, S, 3]: 256 steps from 0 to 1.
    """
    return jax.vmap(_augmented)(jnp.rint(images * 255), keys) / 255


def _augmented(image: jax.Array, key: jax.Array) -> jax.Array:
    which, chance, sign = jax.random.split(key, 3)
    number = jax.random.randint(which, (), 0, len(POLICY))
    happens = jax.random.uniform(chance, (2,)) < jnp.asarray(_PROBABILITIES)[number]
    operations, strengths = jnp.asarray(_NUMBERS)[number], jnp.asarray(_STRENGTHS)[number]
    signs = 2.0 * jax.random.bernoulli(sign, shape=(2,)) - 1
    for place in range(2):
        strength = strengths[place] * signs[place]
        changed = jax.lax.switch(operations[place], _OPERATIONS, image, strength)
        image = jnp.where(happens[place], changed, image)
    return image


def _posterize(image: jax.Array, strength: jax.Array) -> jax.Array:
    dropped = jnp.round(4 * jnp.abs(strength) / LAST)
    step = 2**dropped
    return jnp.floor(image / step) * step


def _solarize(image: jax.Array, strength: jax.Array) -> jax.Array:
    return jnp.where(image >= 255 * (1 - jnp.abs(strength) / LAST), 255 - image, image)


def _autocontrast(image: jax.Array, strength: jax.Array) -> jax.Array:
    least, most = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    scale = 255 / jnp.where(most > least, most - least, 255)
    stretched = jnp.floor((image - least) * scale + 1e-3)
    return jnp.where(most > least, jnp.clip(stretched, 0, 255), image)


def _equalize(image: jax.Array, strength: jax.Array) -> jax.Array:
    def channel(values: jax.Array) -> jax.Array:
        places = values.astype(jnp.int32)
        histogram = jnp.zeros(256, jnp.int32).at[places.reshape(-1)].add(1)
        last = histogram[places.max()]
        step = (histogram.sum() - last) // 255
        before = jnp.cumsum(histogram) - histogram
        table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table[places].astype(values.dtype), values)

    return jax.vmap(channel, in_axes=2, out_axes=2)(image)


def _invert(image: jax.Array, strength: jax.Array) -> jax.Array:
    return 255 - image


def _color(image: jax.Array, strength: jax.Array) -> jax.Array:
    return _blended(_gray(image), image, strength)


def _contrast(image: jax.Array, strength: jax.Array) -> jax.Array:
    return _blended(jnp.floor(_gray(image).mean() + 0.5), image, strength)


def _sharpness(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Between the picture and its blur by a 3 × 3 kernel, which leaves the border as it is."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    side = image.shape[0] - 2
    inner = sum(
        kernel[i, j] * image[i : i + side, j : j + side] for i in range(3) for j in range(3)
    )
    smooth = image.at[1:-1, 1:-1].set(jnp.floor(inner + 0.5))
    return _blended(smooth, image, strength)


def _blended(start: jax.Array, image: jax.Array, strength: jax.Array) -> jax.Array:
    """Pillow's enhancement by a factor of 1 ± up to 0.9."""
    factor = 1 + 0.9 * strength / LAST
    return jnp.floor(jnp.clip(start + factor * (image - start), 0, 255) + 1e-3)


def _gray(image: jax.Array) -> jax.Array:
    weights = jnp.array([19595.0, 38470.0, 7471.0]) / 65536  # Pillow's, in fixed point
    return jnp.floor(image @ weights + 0.5)[..., None]


def _rotate(image: jax.Array, strength: jax.Array) -> jax.Array:
    angle = jnp.deg2rad(30 * strength / LAST)
    c, s, middle = jnp.cos(angle), jnp.sin(angle), image.shape[0] / 2
    x, y = _centres(image.shape[0], middle)
    return _nearest(image, c * x - s * y + middle, s * x + c * y + middle)


def _shear_x(image: jax.Array, strength: jax.Array) -> jax.Array:
    x, y = _centres(image.shape[0], 0.0)
    return _nearest(image, x + 0.3 * strength / LAST * y, y)


def _centres(side: int, middle: float) -> tuple[jax.Array, jax.Array]:
    """Of all pixels, x [1, side] and y [side, 1]."""
    line = jnp.arange(side) + 0.5 - middle
    return line[None, :], line[:, None]


def _nearest(image: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The pixels in which these places [S, S] are; black outside."""
    side = image.shape[0]
    column, row = (jnp.floor(place).astype(jnp.int32) for place in jnp.broadcast_arrays(x, y))
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    found = image[jnp.clip(row, 0, side - 1), jnp.clip(column, 0, side - 1)]
    return jnp.where(inside[..., None], found, 0)


_BY_NAME: dict[str, Operation] = {
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": _invert,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "rotate": _rotate,
    "shear_x": _shear_x,
}
_OPERATIONS = tuple(_BY_NAME.values())
_NUMBERS = np.array([[[*_BY_NAME].index(name) for name, _, _ in pair] for pair in POLICY])
_PROBABILITIES = np.array([[p for _, p, _ in pair] for pair in POLICY])
_STRENGTHS = np.array([[float(m) for _, _, m in pair] for pair in POLICY])
