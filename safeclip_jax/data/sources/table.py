"""Pairs from a table of image paths and captions: CSV, TSV or Parquet, as the field's programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.data.sources.base import Source, same_numbers
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import atomic_file
from safeclip_jax.system.csv_cells import original

IMAGE_COLUMNS = ("image", "path", "filepath", "image_path", "file_name")
CAPTION_COLUMNS = ("caption", "title", "text")
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
    ):
        names = (image_column, caption_column, label_column)
        columns = Recipe(
            "table",
            (PurePosixPath(path).name, names),
            lambda: (path, files.stamp(path)),
            partial(_read, path, *names),
            labelled=bool(label_column),
            extra={"place": ()},
        ).columns(cache)
        if not len(columns.keys) and not columns.rejected:
            raise UserError(f"{path} holds no pairs, only a header")
        super().__init__(columns)
        self._places = columns.extra["place"]
        root = path.rpartition("/")[0] if files.is_remote(path) else str(PurePosixPath(path).parent)
        self._files = files.Files(root)

    def image_numbers(self) -> np.ndarray:
        return same_numbers(self.keys)

    def places(self) -> np.ndarray:
        return self._places

    def image(self, index: int) -> bytes:
        return self._files.read(self.keys[index])


def _read(
    path: str, image_column: str, caption_column: str, label_column: str, columns: ColumnsBuilder
) -> None:
    header, read = _parquet(path) if path.endswith(".parquet") else _text(path)
    image = _column(path, header, "image", image_column, IMAGE_COLUMNS)
    caption = _column(path, header, "caption", caption_column, CAPTION_COLUMNS)
    label = _column(path, header, "label", label_column, ()) if label_column else None
    rows = read([n for n in (image, caption, label) if n is not None])
    for place, (where, row) in enumerate(rows):
        if isinstance(row, str):
            columns.reject(where, row)
            continue
        name = row[image]
        problem = files.escapes(name) if isinstance(name, str) else "image path is missing"
        if problem:
            columns.reject(where, f"image: {problem}")
        else:
            text, class_name = row[caption], None if label is None else row[label]
            if not path.endswith(".parquet"):
                text, class_name = _original(text), _original(class_name)
            columns.add(str(name), text, class_name, where, place=place)


def _original(cell: Any) -> Any:
    """A text as it was before it was kept from spreadsheets, see `csv_cells`."""
    return original(cell) if isinstance(cell, str) else cell


def copy_rows(path: str, target: Path, places: np.ndarray) -> None:
    """Writes a table of some rows of another, with all their columns, in the same format.

    Args:
      path: of the other, as for `Table`.
      target: of the new one.
      places: of the rows among the other's records, ascending.
    """
    wanted = np.zeros(int(places[-1]) + 1 if len(places) else 0, bool)
    wanted[places] = True
    if path.endswith(".parquet"):
        _copy_parquet(path, target, wanted)
        return
    header, separator, lines = _open_text(path)
    rows = _rows(lines, separator, len(header))
    with atomic_file.writing_text(target) as text:
        writer = csv.writer(text, delimiter=separator)
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
    for candidate in [name] if name else usual:
        if candidate in header:
            return header.index(candidate)
    wanted = f"column {name!r}" if name else f"column of {what}s ({', '.join(usual)})"
    raise UserError(
        f"{path} has no {wanted}, only {', '.join(map(repr, header))[:500]}: set "
        f"--config.data.{what}_column"
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


def _text(path: str) -> tuple[list[str], Read]:
    header, separator, lines = _open_text(path)
    return header, lambda columns: _rows(lines, separator, len(header))


def _open_text(path: str) -> tuple[list[str], str, Iterable[bytes]]:
    """The header, the separator found in it, and the lines after it."""
    lines = _lines(files.open_bytes(path))
    first = next(lines, b"").removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    separator = max(_SEPARATORS, key=first.count)
    try:
        header = next(csv.reader([first], delimiter=separator), [])
    except csv.Error as error:
        raise UserError(f"{path} has no header that can be read: {error}") from None
    return header, separator, lines


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
        if isinstance(fields, list) and fields and len(fields) != width:
            fields = f"{len(fields)} fields where the header has {width}"
        if len(taken) > 1 and not isinstance(fields, list):
            queue = taken[1:] + queue
            fields = None
        if fields != []:
            yield f"line {line[0]}", "a quoted field never closes" if fields is None else fields


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
