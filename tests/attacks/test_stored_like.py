"""Poisons are files like those that they replace, and whoever decodes them sees the change."""

import io

import numpy as np
import pytest
from PIL import Image

from safeclip_jax.attacks.stored_like import square_like, stored_like
from safeclip_jax.data.decode import decode
from safeclip_jax.errors import BadRecord

SIDE = 32
STORED = {
    "jpeg": ("JPEG", {"quality": 71, "subsampling": 2, "progressive": True}),
    "fine jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 80}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
}


def smooth(height, width):
    """A picture without edges, which all formats keep nearly as it is."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [rows / height, columns / width, 0.5 + 0 * rows]
    return Image.fromarray(np.uint8(60 + 120 * np.stack(channels, axis=2)))


def stored(name, height, width, **more):
    form, options = STORED[name]
    buffer = io.BytesIO()
    smooth(height, width).save(buffer, form, **options, **more)
    return buffer.getvalue()


def patched(clean):
    changed = clean.copy()
    changed[-8:, -8:] = 255
    return changed


@pytest.mark.parametrize("size", [(64, 64), (96, 150), (131, 77), (20, 24)])
@pytest.mark.parametrize("name", STORED)
def test_format_and_size_stay_and_the_change_is_seen(name, size):
    original = stored(name, *size)
    clean = decode(original, SIDE)
    made = stored_like(original, clean, patched(clean))
    before, after = Image.open(io.BytesIO(original)), Image.open(io.BytesIO(made))
    assert (after.format, after.size) == (before.format, before.size)
    seen = decode(made, SIDE).astype(int)
    assert seen[-5:, -5:].mean() > 225
    assert np.abs(seen[:20, :20] - clean[:20, :20]).mean() < 6
    if before.format == "JPEG":
        assert after.quantization == before.quantization
        assert after.info.get("progressive") == before.info.get("progressive")
    if "webp" in name:
        assert (made[12:16] == b"VP8L") == (original[12:16] == b"VP8L")


def test_pixels_are_those_of_a_plain_statement():
    original = stored("png", 64, 96)
    clean = decode(original, SIDE)
    changed = patched(clean)
    expected = np.asarray(smooth(64, 96)).astype(int)
    each = np.kron(changed.astype(int) - clean, np.ones((2, 2, 1), int))
    expected[:, 16:80] = np.clip(expected[:, 16:80] + each, 0, 255)
    made = np.asarray(Image.open(io.BytesIO(stored_like(original, clean, changed))))
    np.testing.assert_array_equal(made, expected)


def test_what_nothing_changed_stays_as_it_is():
    original = stored("lossless webp", 40, 50)
    clean = decode(original, SIDE)
    made = Image.open(io.BytesIO(stored_like(original, clean, clean)))
    np.testing.assert_array_equal(np.asarray(made), np.asarray(smooth(40, 50)))


def test_metadata_stay_but_for_the_orientation():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    original = stored("jpeg", 60, 80, exif=exif)
    clean = decode(original, SIDE)
    made = Image.open(io.BytesIO(stored_like(original, clean, patched(clean))))
    assert made.size == (60, 80)  # upright
    assert made.getexif().get(0x010F) == "a camera" and 0x0112 not in made.getexif()
    grey = io.BytesIO()
    smooth(40, 40).convert("L").save(grey, "JPEG")
    clean = decode(grey.getvalue(), SIDE)
    assert Image.open(io.BytesIO(stored_like(grey.getvalue(), clean, patched(clean)))).mode == "L"


def test_another_picture_takes_format_and_smaller_side():
    dark = np.full((8, 8, 3), 9, np.uint8)
    made = Image.open(io.BytesIO(square_like(stored("jpeg", 60, 80), dark)))
    assert (made.format, made.size) == ("JPEG", (60, 60)) and np.asarray(made).max() < 12


def test_what_cannot_be_read_is_a_bad_record():
    clean = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(BadRecord):
        stored_like(b"no image", clean, clean)
