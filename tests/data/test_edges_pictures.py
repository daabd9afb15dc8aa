"""Metadata never cost a picture, and what is no number is no pixel."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from safeclip_jax.data import tokenizer
from safeclip_jax.data.decode import decode, open_image
from safeclip_jax.errors import BadRecord
from tests.support.data_files import encoded, picture

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_no_exif_costs_a_picture(garbage, form):
    content = encoded(picture(), form, exif=b"Exif\0\0II*\0\x08\0\0\0" + garbage)
    assert decode(content, 16).shape == (16, 16, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(NOISE, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(np.asarray(open_image(content, 32)), np.asarray(expected))


def test_a_jpeg_may_lack_its_end_mark_and_nothing_else():
    content = encoded(NOISE, "JPEG")
    assert np.array_equal(decode(content[:-2], 16), decode(content, 16))
    with pytest.raises(BadRecord, match="truncated"):
        decode(content[:-300], 16)


def test_values_that_are_no_numbers_are_refused():
    pixels = np.full((20, 20), 0.5, np.float32)
    pixels[3, 3] = np.nan
    with pytest.raises(BadRecord, match="no numbers"):
        decode(encoded(Image.fromarray(pixels), "TIFF"), 16)


def test_special_tokens_in_a_caption_are_text():
    words = tokenizer.train(["a red heart", "a blue star"] * 4, 300, 32)
    for mark in ("<|endoftext|>", "<|startoftext|>", "<|pad|>"):
        row = words.encode([f"{mark} a red heart"])[0]
        ids = row[: int(np.argmax(row == words.end_id)) + 1]
        assert list(row).count(words.end_id) == 1 and len(ids) > 10
        assert list(row).count(words.start_id) == 1


def chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


@pytest.mark.parametrize(
    "remark",
    [
        chunk(b"tEXt", b"Author\0somebody", crc=1),
        chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 2**27)),
        chunk(b"iCCP", b"broken"),
        chunk(b"eXIf", b"\0" * 3),
    ],
)
def test_no_remark_costs_a_png(remark):
    content = encoded(NOISE, "PNG")
    after_header = 8 + 25
    changed = content[:after_header] + remark + content[after_header:]
    assert np.array_equal(decode(changed, 16), decode(content, 16))
    broken = bytearray(changed)
    broken[-20] ^= 255  # of the pixels
    with pytest.raises(BadRecord):
        decode(bytes(broken), 16)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"\0\0\0 ftypavif\0\0\0\0", "AVIF, convert"),
        (b"\0\0\0\x18ftypheic", "HEIC, convert"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000, convert"),
        (b"\0\0\1\0\2\0", "an icon"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "SVG, convert"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"hello", "begins with b'hello'"),
    ],
)
def test_what_is_no_picture_says_what_it_is(content, reason):
    with pytest.raises(BadRecord, match=reason):
        decode(content, 16)
