"""Scenes that all cores draw once into one file, for runs that would draw them in every epoch."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.data.sources.columns_file import load_columns, save_columns
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.data.strings import PackedStrings

PICTURES, COLUMNS = "pictures.npy", "columns.npz"


class DrawnScenes(ImageSource):
    """The scenes that `draw` drew; their pictures are mapped into memory, not read.

    Args:
      folder: that `draw` wrote.
    """

    def __init__(self, folder: Path):
        super().__init__(load_columns(folder / COLUMNS))
        self._file = folder / PICTURES
        self._pictures = np.load(self._file, mmap_mode="r")

    def image(self, index: int) -> np.ndarray:
        return self._pictures[index]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pictures": None}  # a worker maps the file itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._pictures = np.load(self._file, mmap_mode="r")


def draw(count: int, seed: int, size: int, folder: Path, processes: int) -> None:
    """Draws `Scenes(count, seed, size=size)` into a folder.

    Args:
      processes: that draw; forked, so JAX must not have been used.
    """
    scenes = Scenes(count, seed, size=size)
    shape = (count, size, size, 3)
    pictures = np.lib.format.open_memmap(folder / PICTURES, "w+", np.uint8, shape)
    fork = multiprocessing.get_context("fork")
    started = [
        fork.Process(target=_draw_share, args=(scenes, pictures, range(first, count, processes)))
        for first in range(processes)
    ]
    for process in started:
        process.start()
    captions, keys = PackedStrings.pack(scenes.captions), PackedStrings.pack(scenes.keys)
    columns = Columns(captions, keys, scenes.labels, scenes.class_names)
    save_columns(folder / COLUMNS, columns)
    for process in started:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process that draws ended with status {process.exitcode}")


def _draw_share(scenes: Scenes, pictures: np.ndarray, indices: range) -> None:
    for i in indices:
        pictures[i] = scenes.image(i)
