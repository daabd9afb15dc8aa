"""Rows of JSON Lines: an object a line, as Hugging Face's `metadata.jsonl`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from safeclip_jax.data.sources.text_table import Row, read_lines
from safeclip_jax.errors import first_line
from safeclip_jax.system import atomic_file, json_text

_LOOKED_AT = 1024  # lines, for the names of fields


class JsonTable:
    """A file of objects; the fields of the first thousand are its columns.

    Args:
      path: local or remote, `.gz` or plain.

    Raises:
      UserError: if it cannot be opened.
    """

    def __init__(self, path: str):
        self._lines = read_lines(path)
        self._first = list(itertools.islice(self._lines, _LOOKED_AT))
        rows = [fields for fields in map(_fields, self._first) if isinstance(fields, dict)]
        self.header = list(dict.fromkeys(name for fields in rows for name in fields))

    def rows(self, columns: list[int]) -> Iterator[Row]:
        """All rows, of the columns that are asked for; can be read once."""
        for number, line in enumerate(itertools.chain(self._first, self._lines), 1):
            if not line.strip():
                continue
            fields = _fields(line)
            if isinstance(fields, str):
                yield f"line {number}", fields
            else:
                yield f"line {number}", [fields.get(name) for name in self.header]

    def copy(self, target: Path, wanted: np.ndarray) -> None:
        """Writes the lines whose places are wanted, bool [rows]."""
        lines: Iterable[bytes] = itertools.chain(self._first, self._lines)
        with atomic_file.writing(target) as file:
            for line, keep in zip(filter(bytes.strip, lines), wanted, strict=False):
                if keep:
                    file.write(line.rstrip(b"\r\n") + b"\n")


def _fields(line: bytes) -> dict | str:
    """The object of a line, or why there is none."""
    try:
        fields = json_text.read(line)
    except ValueError as error:
        return f"no JSON: {first_line(error)}"
    return fields if isinstance(fields, dict) else "no JSON object"
