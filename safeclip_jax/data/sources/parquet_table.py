"""Parquet files as one table: captions by columns, and images that lie in a column themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.data.sources.text_table import Row
from safeclip_jax.errors import BadRecord, UserError, first_line
from safeclip_jax.system import atomic_file

_MAX_COLUMN = 2**30  # bytes of a column in a group of rows
_AT_ONCE = 1024  # rows
_TEXTS = ("string", "large_string", "binary", "large_binary")
# What pyarrow raises at bytes that are not what they say they are.
_DAMAGE = (OSError, ValueError, MemoryError, LookupError, TypeError, RuntimeError)


class ParquetTable:
    """Files with the columns of the first, one after the other.

    Args:
      paths: of the files, local or remote.

    Raises:
      UserError: if pyarrow is not installed, or the first is no Parquet file.
    """

    def __init__(self, paths: list[str]):
        self._paths = paths
        self._schema = _open(paths[0]).schema_arrow
        self.header = list(self._schema.names)

    def rows(self, columns: list[int]) -> Iterator[Row]:
        """All rows, of the columns that are asked for; None in the others.

        Raises:
          UserError: if a file is damaged, lacks a column, has one twice, or would fill the memory.
        """
        for path in self._paths:
            place = f"{path.rpartition('/')[2]} " if len(self._paths) > 1 else ""
            for number, row in enumerate(self._rows_of(path, columns), 1):
                yield f"{place}row {number}", row

    def _rows_of(self, path: str, columns: list[int]) -> Iterator[list]:
        names = [self.header[column] for column in columns]
        number = 0
        try:
            for batch in self._open_for(path, names).iter_batches(_AT_ONCE, columns=names):
                for row in range(len(batch)):
                    number += 1
                    values: list = [None] * len(self.header)
                    for column in columns:
                        values[column] = batch[self.header[column]][row].as_py()
                    yield values
        except _DAMAGE as error:
            raise UserError(f"{path} is damaged after row {number}: {first_line(error)}") from None

    def _open_for(self, path: str, names: list[str]) -> Any:
        """The open file; raises `UserError` if it has not what is read."""
        schema = _open(path).schema_arrow
        there = list(schema.names)
        if any(there.count(name) > 1 for name in names):
            raise UserError(f"{path} has two columns of one name among {', '.join(names)}")
        if missing := [name for name in names if name not in there]:
            raise UserError(f"{path} lacks the column {missing[0]!r} that {self._paths[0]} has")
        # Texts that occur often stay what they are in the file: once, and numbers of them.
        texts = [field.name for field in schema if str(field.type) in _TEXTS]
        table = _open(path, read_dictionary=texts)
        _check_sizes(path, table.metadata, set(names))
        return table

    def images(self, column: int) -> ParquetImages | None:
        """The images of a column that holds them, or a struct with them; None if it holds paths.

        None as well where two columns have its name: `rows` then refuses the file.
        """
        name = self.header[column]
        if self.header.count(name) > 1:
            return None
        kind = self._schema.field(column).type
        if str(kind).startswith("struct"):
            inside = any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        else:
            inside = str(kind) in ("binary", "large_binary")
        return ParquetImages(self._paths, name) if inside else None

    def copy(self, target: Path, wanted: np.ndarray) -> None:
        """Writes the rows whose places are wanted, bool [rows], to one file.

        Raises:
          UserError: if a file is damaged in a column that `rows` did not read.
        """
        import pyarrow.parquet as parquet

        start = 0
        with (
            atomic_file.writing(target) as file,
            parquet.ParquetWriter(file, self._schema) as writer,
        ):
            for batch in self._batches():
                keep = np.zeros(len(batch), bool)
                mine = wanted[start : start + len(batch)]
                keep[: len(mine)] = mine
                writer.write_batch(batch.filter(keep))
                start += len(batch)

    def _batches(self) -> Iterator[Any]:
        for path in self._paths:
            try:
                yield from _open(path).iter_batches(_AT_ONCE)
            except _DAMAGE as error:
                raise UserError(f"{path} is damaged: {first_line(error)}") from None


class ParquetImages:
    """Random access to a column of images; the group of rows that was read last stays in memory."""

    def __init__(self, paths: list[str], column: str):
        self._paths, self._column = paths, column
        self._lock, self._group = threading.Lock(), -1
        self._values: Any = None
        self._ends: np.ndarray | None = None
        self._groups: list[tuple[str, int]] = []

    def __getstate__(self) -> tuple[list[str], str]:
        return self._paths, self._column

    def __setstate__(self, state: tuple[list[str], str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def read(self, row: int) -> bytes:
        """The bytes of one image; raises `BadRecord` if there are none."""
        try:
            with self._lock:
                value = self._value(row)
        except (*_DAMAGE, UserError) as error:
            raise BadRecord(f"image cannot be read: {first_line(error)}") from None
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise BadRecord("image is missing")
        return content

    def _value(self, row: int) -> Any:
        if self._ends is None:
            rows = []
            for path in self._paths:
                meta = _open(path).metadata
                rows += [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
                self._groups += [(path, i) for i in range(meta.num_row_groups)]
            self._ends = np.cumsum(rows)
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group or self._values is None:
            path, number = self._groups[group]
            found = _open(path).read_row_group(number, columns=[self._column])
            self._values, self._group = found.column(0), group
        return self._values[row - (int(self._ends[group - 1]) if group else 0)].as_py()


def _open(path: str, **options: Any) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs 'pip install pyarrow'") from None
    try:
        table = parquet.ParquetFile(files.open_bytes(path), **options)
        _ = table.schema_arrow  # pyarrow reads it when it is asked for
        return table
    except _DAMAGE as error:
        raise UserError(f"{path} is no Parquet file: {first_line(error)}") from None


def _check_sizes(path: str, metadata: Any, names: set[str]) -> None:
    """`UserError` if a column would fill the memory."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        # pyarrow aborts the process at a damaged column's metadata: they are the last to ask.
        if 0 <= group.total_byte_size <= _MAX_COLUMN:
            continue
        for column in map(group.column, range(group.num_columns)):
            size = column.total_uncompressed_size
            if column.path_in_schema.split(".")[0] in names and not 0 <= size <= _MAX_COLUMN:
                raise UserError(
                    f"{path}: column {column.path_in_schema!r} has {size} bytes in a group of "
                    f"rows, more than {_MAX_COLUMN}: write it in smaller groups"
                )
