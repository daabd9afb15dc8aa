"""Labelled images in class sub-folders, the layout of torchvision's ImageFolder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from safeclip_jax.data.files import Files
from safeclip_jax.data.prompts import TEMPLATES, templated
from safeclip_jax.data.sources.base import IMAGE_ENDINGS, Source
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import UserError


class Folder(Source):
    """Images of the class that their sub-folder names; the caption is a template with it.

    Args:
      path: a local folder of class folders; links in it are not followed out of it.
      templates: texts with one `{}`; pair i takes one of them by chance.
      cache: of indices, or None to keep none.

    Raises:
      UserError: if there is no class folder with an image.
    """

    def __init__(
        self,
        path: str,
        templates: Sequence[str] = TEMPLATES,
        cache: IndexCache | None = None,
    ):
        root = Path(path)
        if not root.is_dir():
            raise UserError(f"{path} is not a folder of class folders")
        columns = Recipe(
            "folder",
            (root.name, tuple(templates)),
            lambda: (path, _names(root)),
            partial(_read, root, templates),
            labelled=True,
        ).columns(cache)
        if not len(columns.keys):
            raise UserError(f"{path} holds no class folder with an image")
        super().__init__(columns)
        self._files = Files(path)

    def image(self, index: int) -> bytes:
        return self._files.read(self.keys[index])


def _read(root: Path, templates: Sequence[str], columns: ColumnsBuilder) -> None:
    for name in sorted(entry.name for entry in os.scandir(root) if entry.is_file()):
        if name.lower().endswith(IMAGE_ENDINGS):
            columns.reject(name, "in no class folder")
    for class_name, key in _walk(root):
        if key.lower().endswith(IMAGE_ENDINGS):
            columns.add(key, templated(class_name, templates, len(columns)), class_name)
        else:
            columns.reject(key, "not an image by its ending")


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """The class of each file and its path from the root, sorted."""
    for name in sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and not is_stray(entry.name)
    ):
        for folder, _, names in sorted(os.walk(root / name)):
            for file in sorted(names):
                yield name, str((Path(folder) / file).relative_to(root))


def is_stray(name: str) -> bool:
    """Whether a folder is another program's, as `.ipynb_checkpoints`, `@eaDir`, `__MACOSX`."""
    return name.startswith((".", "@", "__"))


def _names(root: Path) -> str:
    """Digest of the names of all files."""
    digest = hashlib.sha256()
    for _, key in _walk(root):
        digest.update(key.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()
