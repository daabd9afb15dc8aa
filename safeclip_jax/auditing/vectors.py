"""Vectors of all pairs in two files, computed some thousand at a time; a stopped run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from safeclip_jax.data import digests, mapped
from safeclip_jax.data import skipped as skips
from safeclip_jax.data.sources.base import ImageSource, Rejected
from safeclip_jax.data.sources.mix import ImageSubset
from safeclip_jax.errors import UserError, failed
from safeclip_jax.evaluation import features
from safeclip_jax.evaluation.embedding import Embedding, Reading
from safeclip_jax.inference.model import Model
from safeclip_jax.system import atomic_file, json_text

Progress = Callable[[int, int], None]
AT_ONCE = 16_384
LEAST = 100  # pairs that say anything about each other
_FILES = ("images.npy", "texts.npy")


@dataclass(frozen=True)
class Vectors:
    """What a model makes of N pairs.

    Attributes:
      images, texts: unit vectors, float32 [N, D], in memory or mapped from files.
      usable: which pairs can be used, bool [N]; the image vectors of the others are zero.
    """

    images: np.ndarray
    texts: np.ndarray
    usable: np.ndarray

    def __len__(self) -> int:
        return len(self.usable)


def compute(
    model: Model, source: ImageSource, folder: Path, reading: Reading, progress: Progress
) -> tuple[Vectors, dict[int, str]]:
    """Embeds the pairs that are not yet in a folder's files.

    Args:
      model: makes the vectors.
      source: the pairs, at the model's image size.
      folder: made if it is not there; vectors of another model or of other pairs are replaced.
        Beside it pairs are listed if too many cannot be used.
      reading: how images are read.
      progress: hears how many pairs of how many are done.

    Returns:
      The vectors, and why pairs cannot be used, by index.

    Raises:
      UserError: if too many pairs cannot be used, or too few can.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = f"{features.of_model(model)} {json.dumps(digests.of(source))}"
    shape = len(source), model.config.embedding
    state = _read_state(folder, mark, shape)
    if not state["rows"]:
        _make(folder, shape)
    images, texts = (np.lib.format.open_memmap(folder / name, "r+") for name in _FILES)
    skipped = {int(i): str(why) for i, why in state["skipped"].items()}
    for start in range(state["rows"], len(source), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(source)))
        part = ImageSubset(source, rows)
        reasons: dict[str, str] = {}
        embedding = Embedding(
            model.embedder,
            model.variables,
            model.tokenizer,
            replace(
                reading,
                skipped=reasons,
                max_skipped_share=1.0,
                progress=_after(start, len(source), progress),
                _readers={},
            ),
        )
        found = embedding.images(part)
        images[rows] = 0
        images[rows[found.usable]] = found.vectors
        texts[rows] = embedding.texts(part.captions)
        bad = np.setdiff1d(rows, rows[found.usable]).tolist()
        skipped |= {i: reasons.get(source.keys[i], "") for i in bad}
        images.flush()
        texts.flush()
        state = {"mark": mark, "rows": int(rows[-1]) + 1, "skipped": skipped}
        atomic_file.write_text(folder / "state.json", json.dumps(state))
    usable = np.ones(len(source), bool)
    usable[list(skipped)] = False
    _check(source, skipped, reading.max_skipped_share, folder.with_name("skipped.jsonl"))
    return Vectors(images, texts, usable), skipped


def _after(start: int, total: int, progress: Progress) -> Progress:
    """Progress of a part, as that of the whole."""
    return lambda done, _: progress(start + done, total)


def _make(folder: Path, shape: tuple[int, int]) -> None:
    """Makes the files; `Outage` if the disk has no room for them."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    try:
        for name in _FILES:
            mapped.allocate(folder / name, np.float32, shape)
    except OSError as error:
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        needed = len(_FILES) * 4 * math.prod(shape) / 2**30
        what = f"{folder} cannot take the vectors of {shape[0]} pairs, {needed:.2f} GiB"
        raise failed(what, error, "choose another --out, or make room") from None


def _read_state(folder: Path, mark: str, shape: tuple[int, int]) -> dict:
    """How far the files go; not at all if they are damaged, or of another model or other pairs."""
    try:
        state = json_text.read((folder / "state.json").read_bytes())
        shapes = {np.load(folder / name, mmap_mode="r").shape for name in _FILES}
        if state["mark"] == mark and shapes == {shape}:
            return {"rows": int(state["rows"]), "skipped": dict(state["skipped"])}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"rows": 0, "skipped": {}}


def _check(source: ImageSource, skipped: dict[int, str], limit: float, listed: Path) -> None:
    bad = [Rejected(source.keys[i], why) for i, why in skipped.items()]
    last, found = bad[-1] if bad else None, [*source.rejected, *bad]
    with skips.listed_if_too_many(listed, lambda: skips.write_rejected(listed, found)):
        skips.check(source, len(bad), limit, last, name="--max-skipped-share")
    left = len(source) - len(bad)
    if left < LEAST:
        raise UserError(f"an audit needs at least {LEAST} pairs, and {left} can be used")
