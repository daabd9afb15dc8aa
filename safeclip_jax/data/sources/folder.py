"""Labelled images in class sub-folders, the layout of torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from safeclip_jax.data.files import Files
from safeclip_jax.data.prompts import TEMPLATES, readable
from safeclip_jax.data.sources.base import ColumnsBuilder, Source
from safeclip_jax.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class Folder(Source):
    """Images of the class that their sub-folder names; the caption is a template with it.

    Args:
      path: a local folder of class folders; links in it are not followed out of it.
      templates: texts with one `{}`; pair i takes one of them by chance.

    Raises:
      UserError: if there is no class folder with an image.
    """

    def __init__(self, path: str, templates: Sequence[str] = TEMPLATES):
        root = Path(path)
        if not root.is_dir():
            raise UserError(f"{path} is not a folder of class folders")
        columns = ColumnsBuilder(labelled=True)
        for name in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
            for folder, _, names in sorted(os.walk(root / name)):
                for image in sorted(names):
                    key = str((Path(folder) / image).relative_to(root))
                    if image.lower().endswith(IMAGES):
                        columns.add(key, templated(name, templates, len(columns.keys)), name)
                    else:
                        columns.reject(key, "not an image by its ending")
        if not columns.keys:
            raise UserError(f"{path} holds no class folder with an image")
        super().__init__(columns.build())
        self.class_names = [readable(name) for name in self.class_names]
        self._files = Files(path)

    def image(self, index: int) -> bytes:
        return self._files.read(self.keys[index])


def templated(class_name: str, templates: Sequence[str], index: int) -> str:
    """The caption of pair `index`, a function of its class and its index."""
    choice = int(np.random.default_rng([index, 0xCA9]).integers(len(templates)))
    return templates[choice].format(readable(class_name))
