"""Augmentation of images against Pillow, SciPy, formulas of torchvision and a plain statement."""

import colorsys
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from safeclip_jax.data import augment_image
from safeclip_jax.data.augment_image import ImageAugmentation

GRAY = np.array([0.299, 0.587, 0.114])
STILL = ImageAugmentation(
    crop_area=(1, 1), crop_aspect=(1, 1), flip=0, jitter=0, grayscale=0, blur=0
)


def keys(n):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(n))


def images(n=6, side=32):
    return np.float32(np.random.default_rng(0).random((n, side, side, 3)))


def alone(**changes):
    """One operation, or some, alone."""
    none = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    return replace(STILL, **none | changes)


def uniform(key, count):
    return np.float64(jax.random.uniform(key, (count,)))


def chance(key, probability):
    return bool(jax.random.bernoulli(key, float(probability)))


def resampled(line, start, size):
    """Rows of `line` in [start, start + size] of its length, to as many, by a triangle filter."""
    side = len(line)
    made = np.zeros_like(line)
    for i in range(side):
        center = (start + size * (i + 0.5) / side) * side - 0.5
        weights = np.array([max(0, 1 - abs(center - j) / max(size, 1)) for j in range(side)])
        made[i] = np.tensordot(weights / weights.sum(), line, 1)
    return made


def blurred(line, sigma):
    """Rows of `line` under a Gaussian whose weights within the image sum to one."""
    made, place = np.zeros_like(line), np.arange(len(line))
    for i in place:
        weights = np.exp(-((place - i) ** 2) / (2 * sigma**2))
        made[i] = np.tensordot(weights / weights.sum(), line, 1)
    return made


def along_both(function, image, rows, columns):
    image = function(image, *rows)
    return function(image.swapaxes(0, 1), *columns).swapaxes(0, 1)


def jittered(image, key, strength):
    """torchvision's formulas of brightness, contrast and saturation; the hue turns about grey."""
    u = 2 * uniform(key, 4) - 1
    image = np.clip(image * (1 + strength.brightness * u[0]), 0, 1)
    factor = 1 + strength.contrast * u[1]
    image = np.clip(factor * image + (1 - factor) * (image @ GRAY).mean(), 0, 1)
    factor, gray = 1 + strength.saturation * u[2], (image @ GRAY)[..., None]
    image = factor * image + (1 - factor) * gray
    i, q = np.array([0.596, -0.274, -0.322]), np.array([0.211, -0.523, 0.312])
    chroma = (image @ i + 1j * (image @ q)) * np.exp(2j * np.pi * strength.hue * u[3])
    yiq = np.stack([image @ GRAY, chroma.real, chroma.imag], axis=-1)
    return np.clip(yiq @ np.linalg.inv(np.stack([GRAY, i, q])).T, 0, 1)


def plain(image, key, strength):
    """One augmented image, float64, written down step by step."""
    crop, flip, jitter, gray, blur, colors = jax.random.split(key, 6)
    low, high = strength.crop_area
    narrow, wide = np.log(strength.crop_aspect)
    u = uniform(crop, 4)
    area, aspect = low + (high - low) * u[0], np.exp(narrow + (wide - narrow) * u[1])
    height, width = min(1, np.sqrt(area / aspect)), min(1, np.sqrt(area * aspect))
    rows, columns = (u[2] * (1 - height), height), (u[3] * (1 - width), width)
    image = along_both(resampled, np.float64(image), rows, columns)
    if chance(flip, strength.flip):
        image = image[:, ::-1]
    if chance(jitter, strength.jitter):
        image = jittered(image, colors, strength)
    if chance(gray, strength.grayscale):
        image = np.repeat((image @ GRAY)[..., None], 3, axis=2)
    happens, width = uniform(blur, 2)
    if happens < strength.blur:
        low, high = strength.blur_sigma
        sigma = (low + (high - low) * width) * len(image) / 224
        image = along_both(blurred, image, (sigma,), (sigma,))
    return image


def test_the_strengths_are_these_and_pixels_run_to_one():
    assert ImageAugmentation() == ImageAugmentation(
        crop_area=(0.08, 1.0), crop_aspect=(0.75, 4 / 3), flip=0.5, jitter=0.8, brightness=0.5,
        contrast=0.5, saturation=0.5, hue=0.1, grayscale=0.2, blur=0.5, blur_sigma=(0.1, 2.0),
    )  # fmt: skip
    found = augment_image.pixels(np.arange(256, dtype=np.uint8))
    np.testing.assert_allclose(found, np.arange(256) / 255, rtol=1e-6)


@pytest.mark.parametrize(
    "strength",
    [ImageAugmentation(), ImageAugmentation(flip=1, jitter=1, grayscale=0, blur=1, hue=0.3)],
    ids=["SimCLR's", "without chance"],
)
def test_every_image_is_augmented_as_the_plain_statement_says(strength):
    x, k = images(16, 24), keys(16)
    found = augment_image.augment(x, k, strength)
    for image, key, ours in zip(x, k, found, strict=True):
        np.testing.assert_allclose(ours, plain(image, key, strength), atol=2e-5)


def test_resampling_equals_pillow():
    """A crop resized by our triangle filter is Pillow's bilinear, but for its rounding."""
    image = np.uint8(images(1, 64)[0] * 255)
    top, left, size = 8, 16, 40
    box = (left, top, left + size, top + size)
    reference = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR, box))
    starts, sizes = np.array([[top, left]]) / 64, np.array([[size, size]]) / 64
    ours = augment_image.resized_crop(image[None] / 255.0, starts, sizes, np.array([False]), 64)
    inner = slice(2, -2)
    difference = np.abs(255 * ours[0] - reference)[inner, inner]
    assert difference.max() < 1.5


def test_flip_and_whole_crop_are_exact():
    x = images()
    whole = np.zeros((6, 2)), np.ones((6, 2))
    flips = np.array([True, False] * 3)
    out = augment_image.resized_crop(x, *whole, flips, x.shape[1])
    np.testing.assert_allclose(out[1], x[1], atol=1e-6)
    np.testing.assert_allclose(out[0], x[0, :, ::-1], atol=1e-6)


def test_blur_equals_scipy():
    from scipy.ndimage import gaussian_filter

    x = images(1)
    out = augment_image.gaussian_blur(x, np.float32([1.5]))[0]
    expected = gaussian_filter(x[0], (1.5, 1.5, 0), truncate=8)
    np.testing.assert_allclose(out[8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-4)
    np.testing.assert_allclose(augment_image.gaussian_blur(x, np.float32([0]))[0], x[0], atol=1e-6)


def test_no_strength_changes_nothing_and_full_strength_stays_in_range():
    x = images()
    np.testing.assert_allclose(augment_image.augment(x, keys(6), STILL), x, atol=1e-5)
    out = augment_image.augment(x, keys(6), ImageAugmentation())
    assert out.shape == x.shape and out.min() >= -1e-5 and out.max() <= 1 + 1e-5
    assert np.abs(out - x).mean() > 0.05


def test_augmentation_of_an_image_depends_on_its_key_alone():
    x, k, strength = images(), keys(6), ImageAugmentation()
    backwards = augment_image.augment(x[::-1], k[::-1], strength)
    np.testing.assert_allclose(backwards[::-1], augment_image.augment(x, k, strength), atol=1e-5)


def test_hue_keeps_brightness():
    strength = ImageAugmentation(brightness=0, contrast=0, saturation=0, hue=0.1)
    x = 0.4 + 0.2 * images()
    out = augment_image.color_jitter(x, keys(6), strength)
    np.testing.assert_allclose(out @ GRAY, x @ GRAY, atol=2e-3)
    assert np.abs(out - x).max() > 0.02


MANY = 4000


def drawn(strength, image):
    """Of many keys, what becomes of one small image."""
    return np.asarray(augment_image.augment(np.stack([image] * MANY), keys(MANY), strength))


def is_share(found, expected):
    """Whether a share of the many keys is what chance allows, six standard deviations off."""
    return abs(found - expected) < 6 * np.sqrt(expected * (1 - expected) / MANY)


def test_brightness_is_uniform_whether_or_not_the_jitter_is_rare():
    gray = np.full((2, 2, 3), 0.4, np.float32)
    for probability in (0.3, 1.0):
        out = drawn(alone(jitter=probability, brightness=0.5), gray)[:, 0, 0, 0] / 0.4
        changed = out[np.abs(out - 1) > 1e-5]
        assert is_share(len(changed) / MANY, probability) or probability == 1
        assert stats.kstest(changed, stats.uniform(0.5, 1.0).cdf).pvalue > 1e-4


def test_each_operation_has_its_own_chance():
    left_red = np.zeros((4, 4, 3), np.float32)
    left_red[:, :2, 0] = 1
    strength = alone(flip=0.4, grayscale=0.3, blur=0.2, blur_sigma=(50, 60))
    out = drawn(strength, left_red)
    gray = np.ptp(out, axis=3).max(axis=(1, 2)) < 1e-4
    flipped = out[:, 0, 0].sum(axis=1) < out[:, 0, -1].sum(axis=1)
    sharp = np.minimum(out[:, 0, 0].sum(axis=1), out[:, 0, -1].sum(axis=1)) < 1e-4
    for happened, expected in ((flipped, 0.4), (gray, 0.3), (~sharp, 0.2)):
        assert is_share(happened.mean(), expected)
    for a, b, expected in ((flipped, gray, 0.12), (gray, ~sharp, 0.06), (flipped, ~sharp, 0.08)):
        assert is_share((a & b).mean(), expected)


def test_crops_have_torchvisions_areas_and_aspects():
    strength = alone(crop_area=(0.08, 0.5), crop_aspect=(3 / 4, 4 / 3))
    starts, sizes = (np.float64(x) for x in augment_image.crop_boxes(keys(MANY), strength))
    height, width = sizes.T
    assert stats.kstest(height * width, stats.uniform(0.08, 0.42).cdf).pvalue > 1e-4
    aspects = np.log(width / height) / np.log(4 / 3)
    assert stats.kstest(aspects, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    for place in (starts / (1 - sizes)).T:
        assert stats.kstest(place, stats.uniform().cdf).pvalue > 1e-4


def test_the_strengths_are_simclrs():
    assert ImageAugmentation() == ImageAugmentation(
        crop_area=(0.08, 1.0), crop_aspect=(0.75, 4 / 3), flip=0.5, jitter=0.8,
        brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1,
        grayscale=0.2, blur=0.5, blur_sigma=(0.1, 2.0),
    )  # fmt: skip


def test_pixels_are_shares_of_255():
    bytes_ = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    np.testing.assert_array_equal(augment_image.pixels(bytes_), bytes_ / np.float32(255))


def torchvision_jittered(image, key, strength):
    """`ColorJitter` one image after the other; the hue by colorsys, pixel by pixel."""
    factors, orders = jax.random.split(key)
    drawn = 2 * np.float64(jax.random.uniform(factors, (4,))) - 1
    strengths = strength.brightness, strength.contrast, strength.saturation, strength.hue
    amounts = drawn * strengths
    gray = np.array([0.299, 0.587, 0.114])
    for number in np.asarray(jax.random.permutation(orders, 4)):
        if number == 0:
            image = image * (1 + amounts[0])
        elif number == 1:
            mean = (image @ gray).mean()
            image = (1 + amounts[1]) * image - amounts[1] * mean
        elif number == 2:
            image = (1 + amounts[2]) * image - amounts[2] * (image @ gray)[..., None]
        else:
            turned = []
            for pixel in image.reshape(-1, 3):
                hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
                turned.append(colorsys.hsv_to_rgb((hue + amounts[3]) % 1, saturation, value))
            image = np.array(turned).reshape(image.shape)
        image = np.clip(image, 0, 1)
    return image


def test_torchvisions_jitter_is_that_of_colorsys_in_an_order_of_each_image():
    x, k = images(12, 8), keys(12)
    x[0] = x[0, :, :, :1]  # grey, which has no hue
    found = augment_image.torchvision_jitter(x, k, ImageAugmentation())
    for image, key, ours in zip(x, k, found, strict=True):
        expected = torchvision_jittered(np.float64(image), key, ImageAugmentation())
        np.testing.assert_allclose(ours, expected, atol=3e-5)
    orders = {tuple(np.asarray(jax.random.permutation(jax.random.split(key)[1], 4))) for key in k}
    assert len(orders) > 6
    only = alone(jitter=1.0, jitter_kind="torchvision")
    np.testing.assert_allclose(augment_image.augment(x, k, only), x, atol=1e-5)
