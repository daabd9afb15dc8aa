"""AutoAugment's operations against Pillow, and how often each pair is drawn."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from safeclip_jax.data import autoaugment

SIDE = 24
NEAREST = Image.Resampling.NEAREST


def picture(seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    smooth = np.stack([x * 9, y * 8, (x + y) * 4], axis=2)
    return np.uint8(np.clip(smooth + rng.integers(0, 40, smooth.shape), 3, 230))


def sheared(image, amount):
    return image.transform(image.size, Image.Transform.AFFINE, (1, amount, 0, 0, 1, 0), NEAREST)


# torchvision's strengths of ten steps, with Pillow's operations.
PILLOW = {
    "posterize": lambda image, m: ImageOps.posterize(image, 8 - round(abs(m) / (9 / 4))),
    "solarize": lambda image, m: ImageOps.solarize(image, np.linspace(255, 0, 10)[abs(m)]),
    "autocontrast": lambda image, m: ImageOps.autocontrast(image),
    "equalize": lambda image, m: ImageOps.equalize(image),
    "invert": lambda image, m: ImageOps.invert(image),
    "color": lambda image, m: ImageEnhance.Color(image).enhance(1 + m / 10),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + m / 10),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + m / 10),
    "rotate": lambda image, m: image.rotate(30 * m / 9, NEAREST),
    "shear_x": lambda image, m: sheared(image, 0.3 * m / 9),
}


@pytest.mark.parametrize("name", PILLOW)
def test_operations_are_pillows(name):
    assert PILLOW.keys() == autoaugment._BY_NAME.keys()
    change = jax.jit(autoaugment._BY_NAME[name])
    for strength in (-9, -4, 0, 3, 8):
        image = picture(strength + 9)
        expected = np.int32(PILLOW[name](Image.fromarray(image), strength))
        difference = np.abs(np.int32(change(np.float32(image), float(strength))) - expected)
        if name in ("rotate", "shear_x"):  # a place on the line between two pixels
            assert (difference > 0).any(axis=2).mean() < 0.02
        else:
            assert difference.max() <= 1 and (difference > 0).mean() < 0.05


def test_flat_pictures_stay():
    flat = np.full((SIDE, SIDE, 3), 77, np.float32)
    for name in ("autocontrast", "equalize"):
        np.testing.assert_array_equal(autoaugment._BY_NAME[name](flat, 0.0), flat)


def test_each_image_gets_one_pair_of_operations_by_its_key():
    keys = jax.random.split(jax.random.key(5), 40)
    image = picture()
    images = np.broadcast_to(np.float32(image) / 255, (40, *image.shape))
    found = np.rint(255 * np.asarray(jax.jit(autoaugment.augment)(images, keys)))
    for key, ours in zip(keys, found, strict=True):
        which, chance, sign = jax.random.split(key, 3)
        pair = autoaugment.POLICY[int(jax.random.randint(which, (), 0, 25))]
        expected = jax.numpy.float32(image)
        for place, (name, probability, strength) in enumerate(pair):
            if float(jax.random.uniform(chance, (2,))[place]) < probability:
                positive = bool(jax.random.bernoulli(sign, shape=(2,))[place])
                signed = float(strength if positive else -strength)
                expected = autoaugment._BY_NAME[name](expected, signed)
        np.testing.assert_allclose(ours, expected, atol=1)
    assert len({image.tobytes() for image in found}) > 15


def test_the_policy_has_the_papers_shares():
    names = [operation for pair in autoaugment.POLICY for operation in pair]
    assert len(autoaugment.POLICY) == 25 and len(names) == 50
    assert {n for n, _, _ in names} == PILLOW.keys()
    assert all(0 <= p <= 1 and 0 <= m <= 9 for _, p, m in names)
