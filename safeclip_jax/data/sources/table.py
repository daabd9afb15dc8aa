"""Pairs from a table of image paths and captions: CSV, TSV, JSON Lines or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.data.prompts import TEMPLATES, templated
from safeclip_jax.data.sources.base import Source, same_numbers
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.data.sources.json_table import JsonTable
from safeclip_jax.data.sources.parquet_table import ParquetImages, ParquetTable
from safeclip_jax.data.sources.text_table import Row, TextTable
from safeclip_jax.errors import UserError
from safeclip_jax.system.csv_cells import original

IMAGE_COLUMNS = (
    *("image", "path", "filepath", "image_path", "file_name", "file_path", "image_name"),
    *("jpg", "png", "webp"),
)
CAPTION_COLUMNS = ("caption", "title", "text", "comment")
_PARQUET = (".parquet", ".pq")
_JSON = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


class TableFile(Protocol):
    """A table as its format has it: the names of its columns, and its rows one after the other."""

    header: list[str]

    def rows(self, columns: list[int]) -> Iterator[Row]: ...

    def copy(self, target: Path, wanted: np.ndarray) -> None: ...


class Table(Source):
    """Images named by a table; paths are relative to its folder and may not leave it.

    Args:
      path: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file, local or remote, texts also as `.gz`; or
        a folder, a glob or a range of `.parquet` files.
      image_column, caption_column: column names; empty for the first usual one. Without one of
        captions, but with labels, a caption is a template with the class's name.
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
        folder, paths = _files(path)
        root = images or folder
        columns = Recipe(
            "table",
            ([PurePosixPath(p).name for p in paths], names, images, columns_of),
            lambda: [(p, files.stamp(p)) for p in paths],
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


def copy_rows(path: str, target: Path, places: np.ndarray, names: str = "") -> None:
    """Writes some rows of a table with all their columns; a text table unpacked, in UTF-8.

    Args:
      path: of the table, as for `Table`.
      target: of the new one, in the same format.
      places: of the rows among its records, ascending.
      names: of the columns of a table without a header; the new one has none either.
    """
    wanted = np.zeros(int(places[-1]) + 1 if len(places) else 0, bool)
    wanted[places] = True
    _open(path, names).copy(target, wanted)


def ending(path: str) -> str:
    """The ending of what `copy_rows` writes."""
    if _is_parquet(path):
        return ".parquet"
    return PurePosixPath(path.removesuffix(".gz")).suffix


def _is_parquet(path: str) -> bool:
    return path.endswith(_PARQUET) or (not files.is_remote(path) and Path(path).is_dir())


def _files(path: str) -> tuple[str, list[str]]:
    """The folder of a table and its files."""
    many = any(c in path for c in "*?[{") and not Path(path).exists()
    if many or (not files.is_remote(path) and Path(path).is_dir()):
        folder, names = files.expand(path, ".parquet")
        return folder, [f"{folder}/{name}" for name in names]
    folder = path.rpartition("/")[0] if files.is_remote(path) else str(PurePosixPath(path).parent)
    return folder, [path]


def _open(path: str, names: str = "") -> TableFile:
    if _is_parquet(path):
        return ParquetTable(_files(path)[1])
    return JsonTable(path) if path.endswith(_JSON) else TextTable(path, names)


def _read(
    path: str,
    image_column: str,
    caption_column: str,
    label_column: str,
    root: str,
    names: str,
    columns: ColumnsBuilder,
) -> None:
    table = _open(path, names)
    image = _column(path, table.header, "image", image_column, IMAGE_COLUMNS)
    label = _column(path, table.header, "label", label_column, ()) if label_column else None
    caption = _caption_column(path, table.header, caption_column, label is not None)
    inside = isinstance(table, ParquetTable) and table.images(image) is not None
    text_of: Callable[[Any], Any] = _original if isinstance(table, TextTable) else lambda x: x
    wanted = [n for n in (None if inside else image, caption, label) if n is not None]
    for place, (where, row) in enumerate(table.rows(wanted)):
        if isinstance(row, str):
            columns.reject(where, row)
            continue
        name, problem = (where, "") if inside else _path(row[image], root)
        if problem:
            columns.reject(where, f"image: {problem}")
            continue
        class_name = None if label is None else text_of(row[label])
        if caption is None:
            text: object = templated(str(class_name), TEMPLATES, len(columns))
        else:
            text = text_of(row[caption])
        columns.add(name, text, class_name, where, place=place)


def _path(name: object, root: str) -> tuple[str, str]:
    """A path relative to the root, or why there is none."""
    if not isinstance(name, str):
        return "", "image path is missing"
    name = name.strip()
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
    """Reads the images of Parquet files that hold them themselves."""
    if not _is_parquet(path):
        return None
    table = ParquetTable(_files(path)[1])
    return table.images(_column(path, table.header, "image", name, IMAGE_COLUMNS))


def _original(cell: Any) -> Any:
    """A text as it was before it was kept from spreadsheets, see `csv_cells`."""
    return original(cell) if isinstance(cell, str) else cell


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


def _caption_column(path: str, header: Sequence[str], name: str, labelled: bool) -> int | None:
    """Index of the column of captions; None if there is none, but class names."""
    try:
        return _column(path, header, "caption", name, CAPTION_COLUMNS)
    except UserError:
        if labelled and not name:
            return None
        raise
