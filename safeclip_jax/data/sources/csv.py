"""Pairs from a CSV file of image paths and captions, the format of the field's programs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from safeclip_jax.data.decode import decode
from safeclip_jax.data.sources.base import BadRecord, Pair
from safeclip_jax.errors import UserError


class CSVPairs:
    """Images beside a CSV (or, by its ending, TSV) file with a header.

    Args:
      path: the file; image paths in it are relative to its folder and may not leave it.
      image_column, caption_column: column names.
      size: side in pixels to which images are resized and centre-cropped.

    Raises:
      UserError: if the file is missing, has no pairs, or lacks a column.
    """

    def __init__(self, path: str, image_column: str, caption_column: str, size: int):
        file = Path(path)
        if not path or not file.is_file():
            raise UserError(
                f"data.path={path!r} is not a file: point --config.data.path=FILE.csv at a CSV "
                f"with columns {image_column!r} and {caption_column!r}, or try "
                "--config.data.source=scenes"
            )
        self._root = file.resolve().parent
        self._size = size
        with file.open(newline="", encoding="utf-8", errors="replace") as lines:
            rows = csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ",")
            for column in (image_column, caption_column):
                if column not in (rows.fieldnames or ()):
                    raise UserError(
                        f"{file} has no column {column!r}, only {rows.fieldnames}: set "
                        "--config.data.image_column and --config.data.caption_column"
                    )
            records = [(row[image_column] or "", row[caption_column] or "") for row in rows]
        if not records:
            raise UserError(f"{file} holds no pairs, only a header")
        self.keys = [image for image, _ in records]
        self.captions = [caption for _, caption in records]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Pair:
        key, caption = self.keys[index], self.captions[index]
        if not caption.strip():
            raise BadRecord("empty caption")
        try:
            path = (self._root / key).resolve()
            if not path.is_relative_to(self._root):
                raise BadRecord("image path leaves the folder of the CSV file")
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            raise BadRecord(f"image cannot be read: {error}") from None
        return Pair(decode(content, self._size), caption, key)


class Subset:
    """Some pairs of a source, chosen by a seed: the field's "1 M random pairs of CC3M"."""

    def __init__(self, source: CSVPairs, count: int, seed: int):
        if not 0 < count <= len(source):
            raise UserError(f"data.pairs={count}, but the source holds {len(source)} pairs")
        rng = np.random.default_rng([seed, 0x5B5E7])
        self._source = source
        self._indices = np.sort(rng.choice(len(source), count, replace=False)).tolist()
        self.captions = [source.captions[i] for i in self._indices]
        self.keys = [source.keys[i] for i in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Pair:
        return self._source[self._indices[index]]
