"""A changed picture as a file like the one that it replaces: same format, size and quality.

A poison that is stored in another way than honest pictures is found by its file alone.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from safeclip_jax.data.decode import ORIENTATION, open_image
from safeclip_jax.errors import BadRecord, first_line

_WHOLE = 1 << 16  # larger than any side: nothing is read at a reduced scale


def stored_like(original: bytes, clean: np.ndarray, changed: np.ndarray) -> bytes:
    """The file of a picture, with what was changed in it at another size.

    The difference is added to the square in the middle, from which the clean picture was made;
    the rest stays. Metadata stay but for the orientation: the picture is stored upright.

    Args:
      original: the file.
      clean: the picture as `decode` makes it, uint8 [S, S, 3].
      changed: the same with the changes.

    Raises:
      BadRecord: if the file cannot be read, or written in its format.
    """
    canvas = np.asarray(open_image(original, _WHOLE)).astype(np.int16)
    height, width, _ = canvas.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    canvas[top : top + side, left : left + side] += _resized(changed.astype(np.int16) - clean, side)
    return _encoded(Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)), original)


def square_like(original: bytes, picture: np.ndarray) -> bytes:
    """Another picture, uint8 [S, S, 3], as a square file of the original's format and smaller side.

    Raises:
      BadRecord: as `stored_like`.
    """
    side = min(open_image(original, _WHOLE).size)
    made = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    return _encoded(made, original)


def _resized(difference: np.ndarray, side: int) -> np.ndarray:
    """A difference of pixels at another size, int16 [side, side, 3]."""
    how = Image.Resampling.NEAREST if side >= len(difference) else Image.Resampling.BOX
    channels = [
        np.asarray(Image.fromarray(difference[..., c].astype(np.float32)).resize((side, side), how))
        for c in range(3)
    ]
    return np.rint(np.stack(channels, axis=2)).astype(np.int16)


def _encoded(picture: Image.Image, original: bytes) -> bytes:
    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(original)) as stored:
            form = "JPEG" if stored.format == "MPO" else str(stored.format)
            if stored.mode == "L":
                picture = picture.convert("L")
            picture.save(buffer, form, **_options(stored, form, original))
    except (OSError, ValueError, KeyError) as error:
        raise BadRecord(f"poisoned image cannot be stored: {first_line(error)}") from None
    return buffer.getvalue()


def _options(stored: Image.Image, form: str, original: bytes) -> dict[str, Any]:
    """How the original was stored, as far as it tells."""
    found: dict[str, Any] = {
        name: stored.info[name] for name in ("icc_profile", "dpi") if name in stored.info
    }
    exif = stored.getexif()
    if len(exif):
        exif.pop(ORIENTATION, None)
        found["exif"] = exif.tobytes()
    if isinstance(stored, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(stored)
        found |= {"qtables": stored.quantization, "progressive": "progressive" in stored.info}
        found |= {} if sampling < 0 else {"subsampling": sampling}
    elif form == "WEBP":
        found["lossless"] = original[12:16] == b"VP8L"
    elif form == "TIFF":
        found["compression"] = stored.info.get("compression", "raw")
    elif form == "BMP":
        found.pop("exif", None)
    return found
