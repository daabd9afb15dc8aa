"""BppAttack against Floyd & Steinberg's loop over pixels, which hands errors on."""

import numpy as np
import pytest

from safeclip_jax.attacks.triggers import Dither
from tests.attacks.test_triggers import picture


def pixel_by_pixel(image, levels):
    height, width = image.shape[:2]
    values, found = image.astype(float), np.empty_like(image)
    for y in range(height):
        for x in range(width):
            level = np.rint(values[y, x] / 255 * (levels - 1))
            error = values[y, x] - level / (levels - 1) * 255
            found[y, x] = np.clip(np.rint(level / (levels - 1) * 255), 0, 255)
            for down, right, share in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if y + down < height and 0 <= x + right < width:
                    values[y + down, x + right] += error * share / 16
    return found


@pytest.mark.parametrize("height, width", [(32, 32), (1, 9), (9, 1), (17, 40), (40, 17)])
@pytest.mark.parametrize("levels", [2, 8, 100])
def test_dithering_equals_the_loop(height, width, levels):
    image = picture(height, width, seed=levels)
    np.testing.assert_array_equal(Dither(levels)(image, 0), pixel_by_pixel(image, levels))


def test_there_are_so_many_levels_and_the_mean_stays():
    image = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    changed = Dither()(image, 0)
    assert np.unique(changed).tolist() == [0, 36, 73, 109, 146, 182, 219, 255]
    blocks = (64 // 16, 16, 256 // 16, 16, 3)
    means = [x.reshape(blocks).astype(float).mean(axis=(1, 3)) for x in (image, changed)]
    assert np.abs(means[0] - means[1]).max() < 4
