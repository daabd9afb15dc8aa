"""Texts in CSV files that a spreadsheet does not run as formulas."""

from __future__ import annotations

import re
from typing import TypeVar

Value = TypeVar("Value")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def harmless(value: Value) -> Value | str:
    """A cell to write: a text that begins like a formula gets an apostrophe before it."""
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


def original(text: str) -> str:
    """The text of which `harmless` made a cell."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text
