"""Encoded images to square uint8 arrays."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from safeclip_jax.data.file_kinds import name_of, without_remarks
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.errors import BadRecord, first_line

MAX_PIXELS = 100_000_000
_STRIP = 1_000_000
_JPEG_END = b"\xff\xd9"
ORIENTATION = 0x0112
_TURNS = {  # EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What the web has. Pillow reads more, some of it through other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class Resized(ImageSource):
    """The pairs of a source, their images decoded, resized and centre-cropped to one size.

    Attributes:
      stored: the source, with the images as they are stored.
      size: side of the images in pixels.
    """

    def __init__(self, source: Source, size: int):
        super().__init__(source)
        self.stored, self.size = source, size

    def image_numbers(self) -> np.ndarray:
        return self.stored.image_numbers()

    def places(self) -> np.ndarray:
        return self.stored.places()

    def image(self, index: int) -> np.ndarray:
        image = self.stored.image(index)
        if isinstance(image, bytes):
            return decode(image, self.size)
        return fit(image, self.size)

    def picture(self, index: int, size: int) -> tuple[np.ndarray, float]:
        image = self.stored.image(index)
        with _decoding():
            opened = open_image(image, size) if isinstance(image, bytes) else image
            return squeeze(opened, size)


def decode(content: bytes, size: int) -> np.ndarray:
    """Decodes an image, turns it upright, and resizes and centre-crops it as CLIP does.

    Args:
      content: the file's bytes, in one of `FORMATS`; of an animation the first picture.
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3], RGB; transparency lies on white.

    Raises:
      BadRecord: if the bytes are no image, are cut off, or hold more than `MAX_PIXELS`.
    """
    with _decoding():
        return fit(open_image(content, size), size)


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    """What a decoder raises at bytes that it cannot read is a bad record."""
    try:
        yield
    except BadRecord:
        raise
    except Exception as error:
        raise BadRecord(f"image cannot be decoded: {first_line(error)}") from None


def open_image(content: bytes, size: int) -> Image.Image:
    """An upright RGB picture; a JPEG is read at a reduced scale, at least twice `size`."""
    try:
        return _opened(content, size)
    except Exception:
        plain = without_remarks(content)
        if len(plain) == len(content):
            raise
        return _opened(plain, size)


def _opened(content: bytes, size: int) -> Image.Image:
    if not content:
        raise BadRecord("image is an empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise BadRecord(f"not an image: {name_of(content)}") from None
        if image.width * image.height > MAX_PIXELS:
            raise BadRecord(f"image of {image.width}×{image.height} pixels is too large")
        image.draft("RGB", (2 * size, 2 * size))
        return _rgb(_upright(_loaded(image, content, size)))


def _loaded(image: Image.Image, content: bytes, size: int) -> Image.Image:
    """The picture with its pixels; of a JPEG nothing but the end mark may lack.

    What follows a picture's last pixel changes none, so two endings tell whether all are there.
    """
    try:
        image.load()
        return image
    except OSError:
        if image.format != "JPEG" or content.endswith(_JPEG_END):
            raise
        stem = content.rstrip(b"\xff")
        ended, other = (_jpeg(stem + more + _JPEG_END, size) for more in (b"", b"\x55" * 64))
        if ended.tobytes() != other.tobytes():
            raise
        return ended


def _jpeg(content: bytes, size: int) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    image.draft("RGB", (2 * size, 2 * size))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its metadata say, if they can be read: they never cost a picture."""
    try:
        turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _in_strips(image, lambda strip: _eight_bit(strip, 65535.0))
    if image.mode == "F":
        if not np.isfinite(np.asarray(image)).all():
            raise BadRecord("image holds values that are no numbers")
        most = max(float(image.getextrema()[1]), 1e-9)  # type: ignore[arg-type]
        return _in_strips(image, lambda strip: _eight_bit(strip, most))
    if image.has_transparency_data:
        return _in_strips(image, _on_white)
    return image.convert("RGB")


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Converts a picture to RGB a million pixels at a time, for its numbers take much room."""
    made = Image.new("RGB", image.size)
    rows = max(1, _STRIP // max(1, image.width))
    for top in range(0, image.height, rows):
        place = (0, top, image.width, min(top + rows, image.height))
        made.paste(convert(image.crop(place)), place)
    return made


def _eight_bit(strip: Image.Image, full: float) -> Image.Image:
    values = np.clip(np.nan_to_num(np.asarray(strip, np.float64) / full), 0, 1) * 255
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    strip = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")


def fit(image: Image.Image | np.ndarray, size: int) -> np.ndarray:
    """Resizes the shorter side, bicubically, and centre-crops.

    Args:
      image: a picture, or uint8 [H, W, 3].
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3], RGB.
    """
    if isinstance(image, np.ndarray) and image.shape == (size, size, 3):
        return image
    return np.asarray(ImageOps.fit(_picture(image), (size, size), Image.Resampling.BICUBIC))


def squeeze(image: Image.Image | np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Resizes the whole picture to a square, bicubically.

    Args:
      image: a picture, or uint8 [H, W, 3].
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3], RGB; and the picture's width over its height.
    """
    picture = _picture(image)
    whole = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(whole), picture.width / picture.height


def _picture(image: Image.Image | np.ndarray) -> Image.Image:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return image if image.mode == "RGB" else _rgb(image)
