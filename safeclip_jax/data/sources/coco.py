"""Pairs from a COCO captions file: a JSON of images and of annotations with captions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.data.sources.base import Source, same_numbers
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import UserError
from safeclip_jax.system import json_text


class Coco(Source):
    """One pair for each annotation, in the file's order.

    Args:
      path: `captions_*.json`, local or remote.
      images: folder of the images, local or remote; empty for the file's own.
      cache: of indices, or None to keep none.

    Raises:
      UserError: if the file is not of this format or the folder is missing.
    """

    def __init__(self, path: str, images: str = "", cache: IndexCache | None = None):
        images = images or path.rpartition("/")[0] or "."
        if not files.is_remote(images) and not Path(images).is_dir():
            raise UserError(f"data.images={images!r} is not a folder: name that of the images")
        columns = Recipe(
            "coco",
            PurePosixPath(path).name,
            lambda: (path, files.stamp(path)),
            partial(_read, path),
            extra={"image": str},
        ).columns(cache)
        if not len(columns.keys) and not columns.rejected:
            raise UserError(f"{path} holds no annotation")
        super().__init__(columns)
        self._names: Sequence[str] = columns.extra["image"]
        self._files = files.Files(images)

    def image_numbers(self) -> np.ndarray:
        return same_numbers(self._names)

    def image(self, index: int) -> bytes:
        return self._files.read(self._names[index])


def _read(path: str, columns: ColumnsBuilder) -> None:
    with files.open_bytes(path) as file:
        try:
            content = json_text.read(file.read())
            names = {str(image["id"]): image["file_name"] for image in content["images"]}
            annotations = list(content["annotations"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no COCO captions file: {error!r}") from None
    for number, annotation in enumerate(annotations):
        fields = annotation if isinstance(annotation, dict) else {}
        key = str(fields.get("id", f"annotation {number}"))
        name = names.get(str(fields.get("image_id")))
        problem = files.escapes(name) if isinstance(name, str) else "image is not in the file"
        if problem:
            columns.reject(key, problem)
        else:
            columns.add(key, fields.get("caption"), image=str(name))
