"""FTrojan against the way there and back: colours, windows, cosines, all by their definitions."""

import numpy as np
import pytest

from safeclip_jax.attacks.triggers import Frequency
from tests.attacks.test_triggers import picture

# Of R, G, B to Y, Cr and Cb as OpenCV defines them.
LUMA = np.array([0.299, 0.587, 0.114])
COLORS = np.array(
    [LUMA, 0.713 * (np.array([1, 0, 0]) - LUMA), 0.564 * (np.array([0, 0, 1]) - LUMA)]
)


def cosines():
    """Rows are the vectors of the orthonormal DCT-II of 32 values."""
    k, n = np.arange(32)[:, None], np.arange(32)[None, :]
    scale = np.where(k == 0, np.sqrt(1 / 32), np.sqrt(2 / 32))
    return scale * np.cos(np.pi * (2 * n + 1) * k / 64)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("magnitude", [30.0, 100.0])
def test_two_coefficients_of_each_window_grow(side, magnitude):
    image, basis = picture(side, seed=1), cosines()
    planes = image.astype(float) @ COLORS.T
    for top in range(0, side, 32):
        for left in range(0, side, 32):
            for channel in (1, 2):
                window = planes[top : top + 32, left : left + 32, channel]
                coefficients = basis @ window @ basis.T
                coefficients[15, 15] += magnitude
                coefficients[31, 31] += magnitude
                window[:] = basis.T @ coefficients @ basis
    exact = np.clip(planes @ np.linalg.inv(COLORS).T, 0, 255)
    found = Frequency(magnitude)(image, 0)
    assert np.abs(found - exact).max() <= 0.5 + 0.001 * magnitude  # the inverse has three digits
    assert np.abs(found - image.astype(float)).max() > magnitude / 8


def test_windows_are_cut_off_at_the_edge():
    image = picture(64)
    whole = Frequency()(image, 0)
    np.testing.assert_array_equal(Frequency()(image[:50, :41], 0), whole[:50, :41])
