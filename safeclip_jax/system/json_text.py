"""JSON that anybody may have written."""

from __future__ import annotations

import json
from typing import Any


def read(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: if it is none, is not UTF-8, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
