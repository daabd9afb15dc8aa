"""Files by their bytes: what one is that is no picture, and what of a PNG is the picture."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
# A picture's size, colours, transparency and pixels; the other chunks are remarks on it.
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PICTURES = {  # first bytes of formats that are pictures, but are not read
    rb".{4}ftyp(avif|avis)": "AVIF",
    rb".{4}ftyp(heic|heix|heim|hevc|mif1)": "HEIC",
    rb"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51": "JPEG 2000",
    rb"\xff\x0a|\x00\x00\x00\x0cJXL": "JPEG XL",
    rb"\x00\x00[\x01\x02]\x00": "an icon (ICO)",
    rb"8BPS": "Photoshop (PSD)",
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg": "SVG",
    rb"%PDF": "PDF",
}
_PAGE = rb"\s*<(!doctype|html|\?xml)"


def name_of(content: bytes) -> str:
    """What a file is that is no picture of ours: words that end "not an image: …"."""
    for first, name in _PICTURES.items():
        if re.match(first, content[:512], re.DOTALL | re.IGNORECASE):
            return f"it is {name}, convert it to PNG, JPEG or WebP"
    if re.match(_PAGE, content[:512], re.IGNORECASE):
        return "it is a web page: the download has failed"
    return f"it begins with {content[:16]!r}"


def without_remarks(content: bytes) -> bytes:
    """A PNG without what its picture does not need: texts, times, profiles; all else as it is."""
    if not content.startswith(_PNG):
        return content
    return _PNG + b"".join(whole for kind, whole in _chunks(content) if kind in _NEEDED)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of each chunk, up to one that is cut off."""
    place = len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield kind, content[place : place + 12 + length]
        place += 12 + length
