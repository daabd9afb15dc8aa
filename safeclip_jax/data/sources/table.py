"""Pairs from a table of image paths and captions: CSV, TSV or Parquet, as the field's programs."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.data.sources.base import Source, same_numbers
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.data.sources.parquet_images import ParquetImages, holds_images
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import atomic_file
from safeclip_jax.system.csv_cells import original

IMAGE_COLUMNS = (
    *("image", "path", "filepath", "image_path", "file_name", "file_path", "image_name"),
    *("jpg", "png", "webp"),
)
CAPTION_COLUMNS = ("caption", "title", "text", "comment")
_PARQUET = (".parquet", ".pq")
_SEPARATORS = ("\t", ",", ";", "|")
_MAX_LINES = 20
_MAX_LINE = 2**20  # bytes; what is behind them is not read
_MAX_COLUMN = 2**30  # bytes of a column in a group of rows
_ROWS_AT_ONCE = 1024
_TEXTS = ("string", "large_string", "binary", "large_binary")

Row = tuple[str, Sequence | str]
Read = Callable[[list[int]], Iterator[Row]]  # takes the columns that are asked for


class Table(Source):
    """Images named by a table; paths are relative to its folder and may not leave it.

    Args:
      path: a `.csv`, `.tsv` or `.parquet` file, local or remote. The separator of a text
        file is found in its header; its encoding is UTF-8.
      image_column, caption_column: column names; empty for the first usual one.
      label_column: column of class names; empty for none.
      cache: of indices, or None to keep none.
      images: folder of the images; empty for the table's own.
      columns_of: names of the columns of a table without a header, with commas.

    Raises:
      UserError: if the file cannot be read, has no pairs, or lacks a column.
    """

    def __init__(
        self,
        path: str,
        image_column: str = "",
        caption_column: str = "",
        label_column: str = "",
        cache: IndexCache | None = None,
        images: str = "",
        columns_of: str = "",
    ):
        names = (image_column, caption_column, label_column)
        folder = (
            path.rpartition("/")[0] if files.is_remote(path) else str(PurePosixPath(path).parent)
        )
        root = images or folder
        columns = Recipe(
            "table",
            (PurePosixPath(path).name, names, images, columns_of),
            lambda: (path, files.stamp(path)),
            partial(_read, path, *names, root, columns_of),
            labelled=bool(label_column),
            extra={"place": ()},
        ).columns(cache)
        if not len(columns.keys) and not columns.rejected:
            raise UserError(f"{path} holds no pairs, only a header")
        super().__init__(columns)
        self._places = columns.extra["place"]
        self._inside = _images_inside(path, image_column)
        self._files = files.Files(root)

    def image_numbers(self) -> np.ndarray:
        return self._places if self._inside is not None else same_numbers(self.keys)

    def places(self) -> np.ndarray:
        return self._places

    def image(self, index: int) -> bytes:
        if self._inside is not None:
            return self._inside.read(int(self._places[index]))
        return self._files.read(self.keys[index])


def _read(
    path: str,
    image_column: str,
    caption_column: str,
    label_column: str,
    root: str,
    names: str,
    columns: ColumnsBuilder,
) -> None:
    is_parquet = path.endswith(_PARQUET)
    header, read = _parquet(path) if is_parquet else _text(path, names)
    image = _column(path, header, "image", image_column, IMAGE_COLUMNS)
    caption = _column(path, header, "caption", caption_column, CAPTION_COLUMNS)
    label = _column(path, header, "label", label_column, ()) if label_column else None
    inside = _images_inside(path, image_column) is not None
    rows = read([n for n in (None if inside else image, caption, label) if n is not None])
    for place, (where, row) in enumerate(rows):
        if isinstance(row, str):
            columns.reject(where, row)
            continue
        name, problem = (where, "") if inside else _path(row[image], root)
        if problem:
            columns.reject(where, f"image: {problem}")
        else:
            text, class_name = row[caption], None if label is None else row[label]
            if not is_parquet:
                text, class_name = _original(text), _original(class_name)
            columns.add(str(name), text, class_name, where, place=place)


def _path(name: object, root: str) -> tuple[str, str]:
    """A path relative to the root, or why there is none."""
    if not isinstance(name, str):
        return "", "image path is missing"
    if PurePosixPath(name).is_absolute() and not files.is_remote(root):
        for above in (Path(root).absolute(), Path(root).resolve()):
            if PurePosixPath(name).is_relative_to(above):
                name = str(PurePosixPath(name).relative_to(above))
                break
    problem = files.escapes(name)
    if files.is_remote(name):
        problem = "path is absolute, a URL: download first, see docs/data"
    elif problem == "path is absolute":
        problem = f"path is absolute and not below {root}: name a folder above it, data.images"
    return name, problem


def _images_inside(path: str, name: str) -> ParquetImages | None:
    """Reads the images of a Parquet file that holds them itself."""
    if not path.endswith(_PARQUET):
        return None
    import pyarrow.parquet as parquet

    try:
        schema = parquet.ParquetFile(files.open_bytes(path)).schema_arrow
    except (OSError, ValueError):
        return None
    header = list(schema.names)
    column = header[_column(path, header, "image", name, IMAGE_COLUMNS)]
    if header.count(column) > 1 or not holds_images(schema, column):
        return None
    return ParquetImages(path, column)


def _original(cell: Any) -> Any:
    """A text as it was before it was kept from spreadsheets, see `csv_cells`."""
    return original(cell) if isinstance(cell, str) else cell


def copy_rows(path: str, target: Path, places: np.ndarray, names: str = "") -> None:
    """Writes some rows of a table with all their columns; a text table unpacked, in UTF-8.

    Args:
      path: of the table, as for `Table`.
      target: of the new one.
      places: of the rows among its records, ascending.
      names: of the columns of a table without a header; the new one has none either.
    """
    wanted = np.zeros(int(places[-1]) + 1 if len(places) else 0, bool)
    wanted[places] = True
    if path.endswith(_PARQUET):
        _copy_parquet(path, target, wanted)
        return
    header, separator, lines = _open_text(path, names)
    rows = _rows(lines, separator, len(header))
    with atomic_file.writing_text(target) as text:
        writer = csv.writer(text, delimiter=separator)
        if not names:
            writer.writerow(header)
        writer.writerows(row for (_, row), keep in zip(rows, wanted, strict=False) if keep)


def _copy_parquet(path: str, target: Path, wanted: np.ndarray) -> None:
    import pyarrow.parquet as parquet

    table, start = parquet.ParquetFile(files.open_bytes(path)), 0
    with (
        atomic_file.writing(target) as file,
        parquet.ParquetWriter(file, table.schema_arrow) as writer,
    ):
        for batch in table.iter_batches(_ROWS_AT_ONCE):
            keep = np.zeros(len(batch), bool)
            mine = wanted[start : start + len(batch)]
            keep[: len(mine)] = mine
            writer.write_batch(batch.filter(keep))
            start += len(batch)


def _column(path: str, header: Sequence[str], what: str, name: str, usual: Sequence[str]) -> int:
    """Index of a column by its name, or of the first usual one."""
    plain = [column.strip().casefold() for column in header]
    for candidate in [name] if name else usual:
        if candidate in header:
            return header.index(candidate)
        if candidate.strip().casefold() in plain:
            return plain.index(candidate.strip().casefold())
    wanted = f"column {name!r}" if name else f"column of {what}s ({', '.join(usual)})"
    raise UserError(
        f"{path} has no {wanted}, only {', '.join(map(repr, header))[:500]}: set "
        f"--config.data.{what}_column, or data.columns if it has no header"
    )


def _parquet(path: str) -> tuple[list[str], Read]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs 'pip install pyarrow'") from None
    try:
        schema = parquet.ParquetFile(files.open_bytes(path)).schema_arrow
        header = list(schema.names)
        # Texts that occur often stay what they are in the file: once, and numbers of them.
        texts = [field.name for field in schema if str(field.type) in _TEXTS]
        table = parquet.ParquetFile(files.open_bytes(path), read_dictionary=texts)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no Parquet file: {first_line(error)}") from None

    def rows(columns: list[int]) -> Iterator[Row]:
        names = [header[column] for column in columns]
        if any(header.count(name) > 1 for name in names):
            raise UserError(f"{path} has two columns of one name among {', '.join(names)}")
        _check_sizes(path, table.metadata, set(names))
        number = 0
        try:
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=names):
                for row in range(len(batch)):
                    number += 1
                    values: list = [None] * len(header)
                    for column in columns:
                        values[column] = batch[header[column]][row].as_py()
                    yield f"row {number}", values
        except (OSError, ValueError, MemoryError) as error:
            raise UserError(f"{path} is damaged after row {number}: {first_line(error)}") from None

    return header, rows


def _check_sizes(path: str, metadata: Any, names: set[str]) -> None:
    """`UserError` if a column would fill the memory."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            size = column.total_uncompressed_size
            if column.path_in_schema.split(".")[0] in names and not 0 <= size <= _MAX_COLUMN:
                raise UserError(
                    f"{path}: column {column.path_in_schema!r} has {size} bytes in a group of "
                    f"rows, more than {_MAX_COLUMN}: write it in smaller groups"
                )


def _text(path: str, names: str) -> tuple[list[str], Read]:
    header, separator, lines = _open_text(path, names)
    return header, lambda columns: _rows(lines, separator, len(header))


def _open_text(path: str, names: str = "") -> tuple[list[str], str, Iterable[bytes]]:
    """The header, the separator found in it, and the lines after it."""
    lines = _lines(_unpacked(path))
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


class _Encoded(io.RawIOBase):
    """A text as the bytes of its UTF-8."""

    def __init__(self, text: io.TextIOWrapper):
        self._text, self._left = text, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = self._text.read(_ROWS_AT_ONCE).encode("utf-8", "surrogatepass")
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _lines(file: Any) -> Iterator[bytes]:
    """The lines of a file, of each as much as a line of a table may have."""
    file = io.BufferedReader(file)
    while line := file.readline(_MAX_LINE):
        rest = line
        while len(rest) == _MAX_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_MAX_LINE)
        yield line


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
