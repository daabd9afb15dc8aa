"""Texts that anybody may have written."""

from __future__ import annotations

import codecs


def decoded(content: bytes) -> str:
    """UTF-8, or what a byte order mark says, without the mark.

    Raises:
      UnicodeDecodeError: if it is neither.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")
