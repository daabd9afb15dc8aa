"""Image augmentation on the device: the recipe of SimCLR (Chen et al., 2020).

Random resized crop, horizontal flip, colour jitter, grayscale and Gaussian blur. Crop,
flip and blur are each two small matrix products per image (rows, then columns): exact
antialiased resampling without gathers, which accelerators dislike. Every image draws
from its own key, so the result does not depend on how a batch is laid out.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from safeclip_jax.data import autoaugment
from safeclip_jax.settings.fields import SHARE, between, one_of, rising_shares, setting

_TRIES = 10  # of a crop that fits


@dataclass(frozen=True)
class ImageAugmentation:
    """Strengths of the augmentation; the defaults are SimCLR's.

    Attributes:
      policy: `simclr`: the operations below; `autoaugment`: that policy alone, see `autoaugment`.
      picture_size: side of the squares to which whole pictures are squeezed, for crops of all
        that they show; 0 for crops of the centre square. Plain views are the centre square.
      crop_area: smallest and largest area of the crop as a share of the image.
      crop_aspect: smallest and largest width / height of the crop.
      flip: probability of a horizontal flip.
      jitter: probability of the colour jitter.
      jitter_kind: `fixed`: in the order of the settings below, the hue turned in YIQ;
        `torchvision`: in a random order, the hue turned in HSV.
      brightness, contrast, saturation: the factor is drawn from 1 ± this.
      hue: the shift is drawn from ± this, in turns of the colour wheel.
      grayscale: probability of dropping the colour.
      blur: probability of the blur.
      blur_sigma: smallest and largest width of the blur in pixels at a 224-pixel side,
        scaled with the image.
    """

    policy: str = setting(
        "simclr", "simclr: the settings below; autoaugment", one_of(("simclr", "autoaugment"))
    )
    picture_size: int = setting(
        0, "pixels a side of whole pictures to crop from; 0: the centre square", between(0, 4096)
    )
    crop_area: tuple[float, float] = setting(
        (0.08, 1.0), "share of the image in a random crop", rising_shares()
    )
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = setting(0.8, "probability of colour jitter", SHARE)
    jitter_kind: str = setting(
        "fixed", "order of the jitter and space of the hue", one_of(("fixed", "torchvision"))
    )
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.1
    grayscale: float = setting(0.2, "probability of grayscale", SHARE)
    blur: float = setting(0.5, "probability of Gaussian blur", SHARE)
    blur_sigma: tuple[float, float] = (0.1, 2.0)


def pixels(images: jax.Array) -> jax.Array:
    """uint8 to float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def augment(
    images: jax.Array,
    keys: jax.Array,
    strength: ImageAugmentation,
    size: int = 0,
    aspect: jax.Array | None = None,
) -> jax.Array:
    """Augments a batch.

    Args:
      images: float [B, P, P, 3] in [0, 1].
      keys: one PRNG key an image, shape [B].
      strength: how far to go.
      size: S, side of the result; 0 for P.
      aspect: width over height that the pictures had before they were squeezed to squares,
        [B]; None where they are squares.

    Returns:
      Float [B, S, S, 3] in [0, 1].
    """
    size = size or images.shape[1]
    if strength.policy == "autoaugment":
        whole = images if aspect is None else centre_square(images, aspect, size)
        return autoaugment.augment(whole, keys)
    crop, flip, jitter, gray, blur, colors = jnp.moveaxis(
        jax.vmap(lambda k: jax.random.split(k, 6))(keys), 1, 0
    )
    boxes = crop_boxes(crop, strength, aspect)
    images = resized_crop(images, *boxes, _chance(flip, strength.flip), size)
    if strength.jitter:
        jittering = color_jitter if strength.jitter_kind == "fixed" else torchvision_jitter
        jittered = jittering(images, colors, strength)
        images = _choose(_chance(jitter, strength.jitter), jittered, images)
    if strength.grayscale:
        images = _choose(_chance(gray, strength.grayscale), _luma(images), images)
    if strength.blur:
        images = gaussian_blur(images, blur_sigmas(blur, images.shape[1], strength))
    return images


def centre_square(images: jax.Array, aspect: jax.Array, size: int) -> jax.Array:
    """The largest square in the middle of pictures that were squeezed, see `augment`."""
    sizes = jnp.stack([jnp.minimum(aspect, 1), jnp.minimum(1 / aspect, 1)], axis=1)
    return resized_crop(images, (1 - sizes) / 2, sizes, jnp.zeros(len(images), bool), size)


def crop_boxes(
    keys: jax.Array, strength: ImageAugmentation, aspect: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Draws crops as (starts [B, 2], sizes [B, 2]), rows then columns, in units of the side.

    A crop of a square picture that would be too long is cut; of others, with `aspect` as for
    `augment`, torchvision's way is taken: the first of ten draws that fits, else the middle.
    """
    if aspect is None:
        u = _uniforms(keys, 4)
        sizes = jnp.minimum(_crop_sizes(u[:, :2], strength), 1.0)
        return u[:, 2:] * (1 - sizes), sizes
    u = _uniforms(keys, 4 * _TRIES).reshape(-1, _TRIES, 4)
    stretch = jnp.stack([jnp.sqrt(aspect), 1 / jnp.sqrt(aspect)], axis=1)
    drawn = _crop_sizes(u[..., :2], strength) * stretch[:, None]
    fits = (drawn <= 1).all(axis=2)
    first = jnp.argmax(fits, axis=1)[:, None, None]
    sizes = jnp.take_along_axis(drawn, first, axis=1)[:, 0]
    place = jnp.take_along_axis(u, first, axis=1)[:, 0, 2:]
    shape = jnp.clip(aspect, *strength.crop_aspect)
    middle = jnp.stack([jnp.minimum(aspect / shape, 1), jnp.minimum(shape / aspect, 1)], axis=1)
    none = ~fits.any(axis=1)[:, None]
    sizes, place = jnp.where(none, middle, sizes), jnp.where(none, 0.5, place)
    return place * (1 - sizes), sizes


def _crop_sizes(u: jax.Array, strength: ImageAugmentation) -> jax.Array:
    """Height and width [..., 2] of crops of a unit square, from two uniform draws [..., 2]."""
    low, high = strength.crop_area
    area = low + (high - low) * u[..., 0]
    narrow, wide = jnp.log(jnp.array(strength.crop_aspect))
    shape = jnp.exp(narrow + (wide - narrow) * u[..., 1])
    return jnp.stack([jnp.sqrt(area / shape), jnp.sqrt(area * shape)], axis=-1)


def resized_crop(
    images: jax.Array, starts: jax.Array, sizes: jax.Array, flips: jax.Array, size: int
) -> jax.Array:
    """Crops, flips where asked, and resizes to a square of `size` with a triangle filter."""
    side = images.shape[1]
    rows = resampling_matrix(starts[:, 0], sizes[:, 0], size, side)
    columns = resampling_matrix(starts[:, 1], sizes[:, 1], size, side)
    columns = _choose(flips, columns[:, ::-1], columns)
    return _separable(images, rows, columns)


def resampling_matrix(start: jax.Array, size: jax.Array, outputs: int, inputs: int) -> jax.Array:
    """Weights [B, outputs, inputs] that resample `[start, start + size]` of the unit interval.

    Row i of a matrix holds the shares of the input pixels in output pixel i: a triangle
    one input pixel wide, or one output pixel where that is wider (antialiasing).
    """
    places = (jnp.arange(outputs) + 0.5) / outputs
    centers = (start[:, None] + size[:, None] * places) * inputs - 0.5
    width = jnp.maximum(size * (inputs / outputs), 1.0)[:, None, None]
    distance = jnp.abs(centers[:, :, None] - jnp.arange(inputs)) / width
    weights = jnp.maximum(1 - distance, 0)
    return weights / weights.sum(axis=2, keepdims=True)


def color_jitter(images: jax.Array, keys: jax.Array, strength: ImageAugmentation) -> jax.Array:
    """Changes brightness, contrast, saturation and hue, in this order.

    The hue turns about the grey axis in YIQ space, which is linear, unlike HSV's.
    """
    u = (2 * _uniforms(keys, 4) - 1)[:, :, None, None, None]
    images = jnp.clip(images * (1 + strength.brightness * u[:, 0]), 0, 1)
    mean = _luma(images).mean(axis=(1, 2), keepdims=True)
    images = jnp.clip(mean + (images - mean) * (1 + strength.contrast * u[:, 1]), 0, 1)
    matrices = _chroma_matrices(
        1 + strength.saturation * u[:, 2, 0, 0, 0], strength.hue * u[:, 3, 0, 0, 0]
    )
    return jnp.clip(jnp.einsum("bhwc,bdc->bhwd", images, matrices), 0, 1)


def torchvision_jitter(
    images: jax.Array, keys: jax.Array, strength: ImageAugmentation
) -> jax.Array:
    """As `color_jitter`, each image in an order of its own, and the hue in HSV space."""
    factors, orders = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    u = 2 * _uniforms(factors, 4) - 1
    order = jax.vmap(lambda key: jax.random.permutation(key, 4))(orders)
    amounts = u * jnp.array(
        [strength.brightness, strength.contrast, strength.saturation, strength.hue]
    )

    def one(image: jax.Array, amount: jax.Array, order: jax.Array) -> jax.Array:
        for number in range(4):
            image = jax.lax.switch(order[number], _CHANGES, image, amount)
        return image

    return jax.vmap(one)(images, amounts, order)


def _brightness(image: jax.Array, amount: jax.Array) -> jax.Array:
    return jnp.clip(image * (1 + amount[0]), 0, 1)


def _contrast(image: jax.Array, amount: jax.Array) -> jax.Array:
    mean = _luma(image).mean()
    return jnp.clip(mean + (image - mean) * (1 + amount[1]), 0, 1)


def _saturation(image: jax.Array, amount: jax.Array) -> jax.Array:
    gray = _luma(image)
    return jnp.clip(gray + (image - gray) * (1 + amount[2]), 0, 1)


def _hue(image: jax.Array, amount: jax.Array) -> jax.Array:
    """Moves the hue of HSV by a share of its circle."""
    value, least = image.max(axis=-1), image.min(axis=-1)
    chroma = value - least
    red, green, blue = jnp.moveaxis(image, -1, 0)
    safe = jnp.where(chroma > 0, chroma, 1)
    sector = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sector + 6 * amount[3]
    # A channel is its value less the chroma times how far the hue is from it, from 0 to 1.
    offsets = jnp.array([5.0, 3.0, 1.0])
    place = jnp.mod(turned[..., None] + offsets, 6)
    distance = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
    return value[..., None] - chroma[..., None] * distance


_CHANGES = (_brightness, _contrast, _saturation, _hue)


def gaussian_blur(images: jax.Array, sigmas: jax.Array) -> jax.Array:
    """Blurs each image by its own width in pixels, [B]; a width of 0 leaves it as it is."""
    side = images.shape[1]
    distance = jnp.arange(side)[:, None] - jnp.arange(side)
    width = jnp.maximum(sigmas, 1e-3)[:, None, None]
    weights = jnp.exp(-0.5 * jnp.square(distance / width))
    weights = weights / weights.sum(axis=2, keepdims=True)
    return _separable(images, weights, weights)


def blur_sigmas(keys: jax.Array, side: int, strength: ImageAugmentation) -> jax.Array:
    """Draws blur widths in pixels, [B]; 0 where an image is not blurred."""
    u = _uniforms(keys, 2)
    low, high = strength.blur_sigma
    sigmas = (low + (high - low) * u[:, 1]) * side / 224
    return jnp.where(u[:, 0] < strength.blur, sigmas, 0.0)


_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32
)


def _chroma_matrices(saturation: jax.Array, turns: jax.Array) -> jax.Array:
    """RGB-to-RGB matrices [B, 3, 3] that scale and turn the chroma plane."""
    angle = 2 * jnp.pi * turns
    c, s = saturation * jnp.cos(angle), saturation * jnp.sin(angle)
    one, zero = jnp.ones_like(c), jnp.zeros_like(c)
    turn = jnp.stack([one, zero, zero, zero, c, -s, zero, s, c], axis=1).reshape(-1, 3, 3)
    return jnp.linalg.inv(_YIQ) @ turn @ _YIQ


def _luma(images: jax.Array) -> jax.Array:
    return (images @ _YIQ[0])[..., None]


def _separable(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    images = jnp.einsum("bih,bhwc->biwc", rows, images)
    return jnp.einsum("bjw,biwc->bijc", columns, images)


def _uniforms(keys: jax.Array, count: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)


def _chance(keys: jax.Array, probability: float) -> jax.Array:
    return jax.vmap(lambda key: jax.random.bernoulli(key, float(probability)))(keys)


def _choose(where: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(where.reshape(-1, *[1] * (no.ndim - 1)), yes, no)
