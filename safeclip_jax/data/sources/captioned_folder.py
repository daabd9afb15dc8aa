"""Images of a folder with their captions in files beside them, as img2dataset's `files`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safeclip_jax.data.files import Files
from safeclip_jax.data.sources import samples
from safeclip_jax.data.sources.base import IMAGE_ENDINGS, Rejected, Source
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.folder import is_stray
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import BadRecord
from safeclip_jax.system import json_text

_BESIDE = (".txt", ".json")
_LOOKED_AT = 100  # .json files, to tell captions from annotations


class CaptionedFolder(Source):
    """Images with a `.txt` or `.json` of the same name beside them; see `samples`.

    Args:
      path: a local folder; links in it are not followed out of it.
      caption_column: field of the `.json` files, for samples without a `.txt`.
      label_column: field of the `.json` files with the class name; empty for none.
      cache: of indices, or None to keep none.
    """

    def __init__(
        self,
        path: str,
        caption_column: str = "",
        label_column: str = "",
        cache: IndexCache | None = None,
    ):
        root, options = Path(path), (caption_column or "caption", label_column)
        self._files = Files(path)
        columns = Recipe(
            "captioned-folder",
            (root.name, options),
            lambda: (path, _state(root)),
            partial(_read, root, self._files, *options),
            labelled=bool(label_column),
            extra={"image": str},
        ).columns(cache)
        super().__init__(columns)
        self._images = columns.extra["image"]

    def image(self, index: int) -> bytes:
        return self._files.read(self._images[index])


def has_captions(root: Path, caption_column: str) -> bool:
    """Whether an image has a `.txt` beside it, or a `.json` with a caption; others annotate."""
    looked_at = 0
    for folder, names in _walk(root):
        split = [os.path.splitext(name) for name in names]
        images = {stem for stem, ending in split if ending.lower() in IMAGE_ENDINGS}
        for stem, ending in split:
            if stem not in images or ending.lower() not in _BESIDE or looked_at == _LOOKED_AT:
                continue
            looked_at += ending.lower() == ".json"
            if ending.lower() == ".txt" or _holds(
                root / f"{folder}{stem}{ending}", caption_column or "caption"
            ):
                return True
    return False


def _holds(path: Path, field: str) -> bool:
    """Whether a file is a JSON object with a field."""
    try:
        fields = json_text.read(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(fields, dict) and field in fields


@dataclass(frozen=True, slots=True)
class _File:
    """A file by its path from the root."""

    name: str
    size: int


def _read(
    root: Path, files: Files, caption_field: str, label_field: str, columns: ColumnsBuilder
) -> None:
    def content(file: _File) -> bytes:
        try:
            return files.read(file.name)
        except BadRecord as error:
            raise ValueError(str(error)) from None

    for folder, names in _walk(root):
        own = [_File(f"{folder}{name}", (root / folder / name).lstat().st_size) for name in names]
        whole, twice = samples.grouped(own)
        for record in twice:
            columns.reject(record.key, record.reason)
        for key, members in whole.items():
            for pair in samples.pairs(content, key, members, caption_field, label_field):
                if isinstance(pair, Rejected):
                    columns.reject(pair.key, pair.reason)
                else:
                    columns.add(pair.key, pair.caption, pair.label, image=pair.image.name)


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder, as it begins the path of its files from the root, and their names, sorted.

    The root's own files are only data where an image is among them: img2dataset keeps its
    statistics there.
    """
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_stray(name))
        names = sorted(name for name in names if not name.startswith("."))
        at_root = Path(place) == root
        if at_root and not any(name.lower().endswith(IMAGE_ENDINGS) for name in names):
            continue
        yield ("" if at_root else f"{Path(place).relative_to(root).as_posix()}/"), names


def _state(root: Path) -> str:
    """Digest of all names, and of the sizes and times of the captions."""
    digest = hashlib.sha256()
    for folder, names in _walk(root):
        for name in names:
            digest.update(f"{folder}{name}\0".encode(errors="surrogatepass"))
            if name.lower().endswith(_BESIDE):
                found = (root / folder / name).lstat()
                digest.update(f"{found.st_size} {found.st_mtime_ns}\0".encode())
    return digest.hexdigest()
