"""JSON that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import texts


def read(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: if it is none, is not UTF-8, or is nested too deeply to be read.
    """
    try:
        return json.loads(texts.decoded(text) if isinstance(text, bytes) else text.lstrip("\ufeff"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_file(path: Path) -> Any:
    """The value of a file of JSON; `UserError` if it cannot be read."""
    try:
        return read(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None
