"""Rows of text tables: CSV and TSV, plain or packed, with the quotes that people write."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import atomic_file

_SEPARATORS = ("\t", ",", ";", "|")
_MAX_LINES = 20
_MAX_LINE = 2**20  # bytes; what is behind them is not read
_AT_ONCE = 1024  # characters

Row = tuple[str, list | str]  # where it stands, and its fields or why it has none


class TextTable:
    """A file with a separator, which is found in its header, and in UTF-8, or UTF-16 with its mark.

    Args:
      path: local or remote, `.gz` or plain.
      names: of the columns of a table without a header, with commas.

    Raises:
      UserError: if it has no header that can be read.
    """

    def __init__(self, path: str, names: str = ""):
        self._named = bool(names)
        self.header, self._separator, self._lines = _open_text(path, names)

    def rows(self, columns: list[int]) -> Iterator[Row]:
        """All rows, with all their fields; can be read once."""
        return _rows(self._lines, self._separator, len(self.header))

    def copy(self, target: Path, wanted: np.ndarray) -> None:
        """Writes the rows whose places are wanted, bool [rows], unpacked and in UTF-8."""
        rows = _rows(self._lines, self._separator, len(self.header))
        with atomic_file.writing_text(target) as text:
            writer = csv.writer(text, delimiter=self._separator)
            if not self._named:
                writer.writerow(self.header)
            writer.writerows(row for (_, row), keep in zip(rows, wanted, strict=False) if keep)


def _open_text(path: str, names: str) -> tuple[list[str], str, Iterable[bytes]]:
    """The header, the separator found in it, and the lines after it."""
    lines = read_lines(path)
    line = next(lines, b"").removeprefix(b"\xef\xbb\xbf")
    said = re.fullmatch(rb"sep=(.)[\r\n]*", line)
    line = next(lines, b"") if said else line
    first = line.decode("utf-8", "replace")
    separator = said[1].decode("latin-1") if said else max(_SEPARATORS, key=first.count)
    if names:
        return names.split(","), separator, itertools.chain([line], lines)
    try:
        header = next(csv.reader([first], delimiter=separator), [])
    except csv.Error as error:
        raise UserError(f"{path} has no header that can be read: {error}") from None
    return header, separator, lines


def read_lines(path: str) -> Iterator[bytes]:
    """The lines of a file in UTF-8, packed or plain, of each as much as a line may have.

    Raises:
      UserError: if it cannot be opened or unpacked.
    """
    file = io.BufferedReader(_unpacked(path))
    start = file.peek()
    if b"\r" in start and b"\n" not in start:  # as old Macs end lines
        file = io.BufferedReader(_Ended(file))
    while line := file.readline(_MAX_LINE):
        rest = line
        while len(rest) == _MAX_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_MAX_LINE)
        yield line


def _unpacked(path: str) -> Any:
    """The bytes of a text file as UTF-8: of what is in a .gz, and of UTF-16 with its mark."""
    file = io.BufferedReader(files.open_bytes(path))
    if path.endswith(".gz"):
        file = io.BufferedReader(gzip.GzipFile(fileobj=file))
    try:
        start = file.peek(2)[:2]
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be unpacked: {first_line(error)}") from None
    if start not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return file
    text = io.TextIOWrapper(file, "utf-16", errors="surrogatepass", newline="")
    return _Encoded(text)


class _Ended(io.RawIOBase):
    """A file whose lines end by a carriage return alone, as one whose lines end by a newline."""

    def __init__(self, file: io.BufferedReader):
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read1(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(content)] = content
        return len(content)


class _Encoded(io.RawIOBase):
    """A text as the bytes of its UTF-8."""

    def __init__(self, text: io.TextIOWrapper):
        self._text, self._left = text, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = self._text.read(_AT_ONCE).encode("utf-8", "surrogatepass")
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _rows(lines: Iterable[bytes], separator: str, width: int) -> Iterator[Row]:
    """Yields each row with the number of its line, or the reason why it is none.

    A quoted field may run over several lines. One that never closes costs its own line
    only, not the rest of the file.
    """
    queue: list[tuple[int, bytes]] = []
    numbered = enumerate(lines, 2)
    while line := queue.pop(0) if queue else next(numbered, None):
        taken = [line]
        fields = _parse(taken, separator)
        while fields is None and len(taken) < _MAX_LINES:
            more = queue.pop(0) if queue else next(numbered, None)
            if more is None:
                break
            taken.append(more)
            fields = _parse(taken, separator)
        if isinstance(fields, list) and len(fields) > width and not any(fields[width:]):
            fields = fields[:width]  # of separators behind the last column
        fields, lines_used = _understood(taken, fields, separator, width)
        queue = taken[lines_used:] + queue
        if fields != []:
            yield f"line {line[0]}", "a quoted field never closes" if fields is None else fields


def _understood(
    taken: list[tuple[int, bytes]], fields: list | str | None, separator: str, width: int
) -> tuple[list | str | None, int]:
    """The fields of a row, or why it has none, and how many lines it takes.

    Quotes quote nothing where the first line has all fields without them, and what quotes would
    join are whole lines, or too much or too little.
    """
    plain = [len(_split(line, separator)) for _, line in taken]
    lines = all(own == width or (separator == "\t" and own > width) for own in plain)
    right = isinstance(fields, list) and len(fields) in (0, width)
    if right and (len(taken) == 1 or not lines):
        return fields, len(taken)
    if plain[0] == width:
        return _split(taken[0][1], separator), 1
    if len(taken) > 1:
        return None, 1
    if isinstance(fields, list):
        fields = f"{len(fields)} fields where the header has {width}"
    return fields, 1


def _split(line: bytes, separator: str) -> list[str]:
    """Fields of a line in which quotes mean nothing; none if it is not UTF-8."""
    try:
        return line.decode().rstrip("\r\n").split(separator)
    except UnicodeDecodeError:
        return []


def _parse(taken: list[tuple[int, bytes]], separator: str) -> list | str | None:
    """Fields of a row, a reason why it has none, or None if a quote is still open."""
    try:
        text = b"".join(line for _, line in taken).decode()
    except UnicodeDecodeError:
        return "not valid UTF-8"
    if '"' not in text:
        text = text.rstrip("\r\n")
        return text.split(separator) if text else []
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else f"quotes: {error}"
