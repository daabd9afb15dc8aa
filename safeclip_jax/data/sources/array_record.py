"""Pairs that `python -m safeclip_jax.prepare` wrote: ArrayRecord shards and their columns."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from safeclip_jax.data import files
from safeclip_jax.data.sources.base import Source
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.columns_file import load_columns
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import BadRecord, UserError, first_line
from safeclip_jax.system import json_text

SCHEMA = 1


def shard_path(folder: Path, number: int, ending: str) -> Path:
    """A shard's file: record i of `.array_record` is image i, `.npz` holds the columns."""
    return folder / f"pairs-{number:05d}{ending}"


class ArrayRecord(Source):
    """A folder that `prepare` wrote.

    Args:
      path: a local folder with `dataset.json`.
      cache: of indices, or None to keep none.

    Raises:
      UserError: if it is not such a folder, or a shard is missing or has another length
        than its columns.
    """

    def __init__(self, path: str, cache: IndexCache | None = None):
        folder = Path(path)
        try:
            described = json_text.read((folder / "dataset.json").read_bytes())
            schema, shards = described["schema"], range(int(described["shards"]))
            if not 0 < shards.stop <= len(list(folder.glob("pairs-*.npz"))):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            raise UserError(
                f"{path} is no folder that 'python -m safeclip_jax.prepare' finished: no "
                "dataset.json in it that can be read and has all its shards"
            ) from None
        if schema != SCHEMA:
            raise UserError(f"{path} has schema {schema}, this version reads {SCHEMA}")
        tables = [shard_path(folder, number, ".npz") for number in shards]
        columns = Recipe(
            "arrayrecord",
            (folder.name, len(tables)),
            lambda: (path, [files.stamp(str(table)) for table in tables]),
            partial(_read, tables),
            labelled=True,
        ).columns(cache)
        super().__init__(columns)
        self._records = _open([shard_path(folder, n, ".array_record") for n in shards])
        if len(self._records) != len(self):
            raise UserError(
                f"{path}: {len(self._records)} images for {len(self)} captions: prepare it again"
            )

    def image(self, index: int) -> bytes:
        try:
            return self._records[index]
        except (ValueError, RuntimeError, IndexError) as error:
            raise BadRecord(f"record cannot be read: {first_line(error)}") from None


def _read(tables: list[Path], columns: ColumnsBuilder) -> list[str] | None:
    """Labels stay only where all shards have the same classes."""
    names: list[str] | None = None
    for table in tables:
        found = load_columns(table)
        names = list(found.class_names) if names is None else names
        same = list(found.class_names) == names
        columns.extend(found if same else replace(found, labels=None))
    return names


def _open(paths: list[Path]) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    try:
        return ArrayRecordDataSource([str(path) for path in paths])
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"a shard in {paths[0].parent} cannot be opened ({first_line(error)}): prepare it again"
        ) from None
