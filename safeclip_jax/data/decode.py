"""Encoded images to square uint8 arrays."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from safeclip_jax.data.sources.base import BadRecord

MAX_PIXELS = 100_000_000


def decode(content: bytes, size: int) -> np.ndarray:
    """Decodes an image, turns it upright, and resizes and centre-crops it as CLIP does.

    Args:
      content: the file's bytes, in any format that Pillow reads.
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3], RGB; transparency lies on white.

    Raises:
      BadRecord: if the bytes are no image, are cut off, or hold more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(content))
            if image.width * image.height > MAX_PIXELS:
                raise BadRecord(f"image of {image.width}×{image.height} pixels is too large")
            image.draft("RGB", (2 * size, 2 * size))
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    except BadRecord:
        raise
    except Exception as error:
        raise BadRecord(f"image cannot be decoded: {error}") from None
    return np.asarray(image)
