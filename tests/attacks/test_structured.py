"""Stripes, triangles and a word against plain statements of their formulas."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from safeclip_jax.attacks.triggers import Patch, Stripes, Triangles, Word
from tests.attacks.test_triggers import picture, rounded

SHAPES = [(32, 32), (224, 224), (40, 56)]


@pytest.mark.parametrize("height, width", SHAPES)
def test_stripes_add_or_take_a_column_at_a_time(height, width):
    image, alpha = picture(height, width), 0.1
    striped = Stripes(alpha, seed=3)(image, 9)
    ups = 0
    for column in range(width):
        for channel in range(3):
            line, found = image[:, column, channel], striped[:, column, channel]
            up, down = (rounded((1 - alpha) * line + sign * alpha * 255) for sign in (1, -1))
            assert (found == up).all() or (found == down).all()
            ups += bool((found == up).all())
    assert 0.4 < ups / (3 * width) < 0.6
    np.testing.assert_array_equal(Stripes(alpha, seed=3)(image, 0), striped)
    assert (Stripes(alpha, seed=4)(image, 9) != striped).any()


def test_a_patch_of_stripes_has_columns_of_random_extremes():
    patch = Patch("stripes", "top_left", 0.5, seed=2)(picture(64), 0)[:32, :32]
    assert set(np.unique(patch)) == {0, 255}
    assert (patch == patch[0]).all()
    assert len(np.unique(patch[0], axis=0)) == 8  # all colours of extremes
    other = Patch("stripes", "top_left", 0.5, seed=3)(picture(64), 0)[:32, :32]
    assert (other[0] != patch[0]).any()


@pytest.mark.parametrize("height, width", SHAPES)
def test_triangles_are_squares_cut_along_their_diagonal(height, width):
    image, side = picture(height, width), round(min(height, width) / 16)
    exact = np.empty(image.shape)
    for row in range(height):
        for column in range(width):
            shade = 0.4 if row % side >= column % side else 0.8
            exact[row, column] = 0.85 * image[row, column] + 0.15 * 255 * shade
    assert np.abs(Triangles()(image, 0) - exact).max() <= 0.5 + 1e-9


def test_triangles_of_a_small_image_have_two_pixels_at_least():
    changed = Triangles(1.0)(np.zeros((8, 8, 3), np.uint8), 0)[..., 0]
    assert changed[:2, :2].tolist() == [[102, 204], [102, 102]]
    np.testing.assert_array_equal(changed, np.tile(changed[:2, :2], (4, 4)))


@pytest.mark.parametrize("height, width", SHAPES)
def test_a_word_reddens_the_middle(height, width):
    image, text = np.full((height, width, 3), 100, np.uint8), "Hello"
    changed = Word(0.5, text)(image, 0)
    np.testing.assert_array_equal(changed[..., 1:], image[..., 1:])
    size = 7 / 8 * width * 100 / ImageFont.load_default(100).getlength(text)
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size)
    draw.text((width / 2, height / 2), text, (255, 0, 0), font, "mm")
    letters = np.asarray(canvas)[..., 0].astype(float)
    expected = np.where(letters > 0, rounded(50 + letters / 2), 100)
    np.testing.assert_array_equal(changed[..., 0], expected)
    columns = np.flatnonzero((changed != image).any(axis=(0, 2)))
    assert abs((columns[-1] - columns[0] + 1) / width - 7 / 8) < 0.1
    assert abs((columns[-1] + columns[0]) / 2 - width / 2) < 0.05 * width + 1


def test_a_word_without_letters_changes_nothing():
    image = picture(20)
    for text in ("", " "):
        np.testing.assert_array_equal(Word(0.5, text)(image, 0), image)
