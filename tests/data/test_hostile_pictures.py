"""Pictures that are small on the disk and huge in memory."""

import numpy as np
import pytest
from PIL import Image

from safeclip_jax.data import decode
from tests.support.bounded import bounded
from tests.support.data_files import encoded

SIDE = 4000  # 16 million pixels: 128 MB for each array of float64


@pytest.mark.parametrize(
    "mode, form, options",
    [
        ("I;16", "PNG", {}),
        ("F", "TIFF", {"compression": "tiff_deflate"}),
        ("RGBA", "PNG", {"compress_level": 1}),
    ],
)
def test_a_large_picture_takes_little_more_than_its_pixels(mode, form, options):
    content = encoded(Image.new(mode, (SIDE, SIDE)), form, **options)
    assert len(content) < 2**21
    with bounded(mebibytes=300):
        assert decode.decode(content, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "RGBA", "LA", "PA"])
def test_strips_change_nothing(mode, monkeypatch):
    rng = np.random.default_rng(0)
    if mode in ("I;16", "I"):
        image = Image.fromarray(rng.integers(0, 65536, (50, 31)).astype(np.uint16))
        image = image.convert(mode)
    elif mode == "F":
        image = Image.fromarray(rng.random((50, 31), np.float32) * 3)
    else:
        channels = np.dstack([rng.integers(0, 256, (50, 31), np.uint8)] * 4)
        image = Image.fromarray(channels, "RGBA").convert(mode)
    whole = np.asarray(decode._rgb(image))
    monkeypatch.setattr(decode, "_STRIP", 70)
    np.testing.assert_array_equal(np.asarray(decode._rgb(image)), whole)
    if mode == "F":
        values = np.asarray(image, np.float64)
        np.testing.assert_array_equal(whole[..., 0], np.rint(values / values.max() * 255))


@pytest.mark.parametrize("values", [-1.0, 0.0, 1e38])
def test_a_float_picture_of_any_numbers_is_one(values):
    image = Image.fromarray(np.full((4, 4), values, np.float32))
    assert decode.decode(encoded(image, "TIFF"), 4).shape == (4, 4, 3)
