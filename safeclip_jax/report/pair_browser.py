"""The part of a page in which thousands of pairs are searched, sorted and looked at."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from safeclip_jax.data.pictures import read
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.report.pool_history import History

THUMBNAIL = 64
CAPTION = 300  # letters that are shown


@dataclass(frozen=True)
class Shown:
    """Pairs in the order in which they are shown; n of them.

    Attributes:
      pairs: their indices, [n].
      marked: whether each is marked, bool [n].
      mark: what that means, in a word.
      scores: by name, high means suspicious, [n] each; the first one orders them.
      poisons: the truth, where it is known: indices.
      reasons: of each, in words.
      beside: pairs to compare each with, by title, indices [n, m] each.
    """

    pairs: np.ndarray
    marked: np.ndarray
    mark: str
    scores: dict[str, np.ndarray]
    poisons: np.ndarray | None = None
    reasons: Sequence[Sequence[str]] = ()
    beside: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def all(self) -> np.ndarray:
        """The pairs, then those beside them that are none of them."""
        others = np.unique([j for numbers in self.beside.values() for j in numbers.ravel()])
        return np.concatenate([self.pairs, np.setdiff1d(others, self.pairs).astype(int)])


def data(
    shown: Shown, source: ImageSource, history: History | None, pictures: int | None = None
) -> str:
    """What the page's script shows, as JSON that no caption can break out of.

    Args:
      shown: the pairs.
      source: of keys, captions and pictures.
      history: of the run.
      pictures: how many of the first pairs, and of the poisons, have one; None for all.
    """
    numbers = shown.all
    entries: list[dict] = [{"c": source.captions[pair][:CAPTION]} for pair in numbers.tolist()]
    looked_at = np.arange(len(numbers))[:pictures]
    if shown.poisons is not None:
        looked_at = np.union1d(looked_at, np.flatnonzero(np.isin(numbers, shown.poisons)))
    for number, picture in zip(looked_at, read(source, numbers[looked_at]), strict=True):
        if picture is not None:
            entries[number]["t"] = thumbnail(picture)
    texts = list(dict.fromkeys(reason for one in shown.reasons for reason in one))
    _describe(entries, shown, source, texts)
    if history is not None:
        _tell(entries, shown.pairs, history)
    content = {
        "pairs": entries,
        "shown": len(shown.pairs),
        "mark": shown.mark,
        "reasons": texts,
        "beside": list(shown.beside),
        "scores": list(shown.scores),
        "side": THUMBNAIL,
        "epochs": [] if history is None else history.epochs.tolist(),
        "shares": [] if history is None else np.rint(100 * history.shares).astype(int).tolist(),
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _describe(entries: list[dict], shown: Shown, source: ImageSource, texts: list[str]) -> None:
    """Adds key, mark, scores, reasons, pairs beside it and the truth."""
    place = {int(pair): number for number, pair in enumerate(shown.all)}
    of_reason = {text: number for number, text in enumerate(texts)}
    true = set() if shown.poisons is None else set(shown.poisons.tolist())
    for number, (pair, entry) in enumerate(zip(shown.pairs.tolist(), entries, strict=False)):
        entry["k"], entry["f"] = source.keys[pair], int(shown.marked[number])
        entry["s"] = [_number(values[number]) for values in shown.scores.values()]
        if shown.reasons:
            entry["r"] = [of_reason[reason] for reason in shown.reasons[number]]
        if shown.beside:
            rows = (values[number].tolist() for values in shown.beside.values())
            entry["b"] = [[place[j] for j in row if j != pair] for row in rows]
        if pair in true:
            entry["x"] = 1


def _tell(entries: list[dict], pairs: np.ndarray, history: History) -> None:
    """Adds P(safe) of every epoch, the epochs in the safe pool, and the last score's rank."""
    past = history.of(pairs)
    percent = np.rint(100 * past.p_safe).astype(int)
    for number, (pair, entry) in enumerate(zip(pairs, entries, strict=False)):
        entry["h"] = percent[:, number].tolist()
        entry["p"] = "".join("01"[int(safe)] for safe in past.safe[:, number])
        entry["l"] = int(100 * history.last[pair])


def thumbnail(image: np.ndarray, side: int = THUMBNAIL) -> str:
    """A picture, uint8 [S, S, 3], as WebP of at most so many pixels a side, in base 64."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=75)
    return base64.b64encode(buffer.getvalue()).decode()


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(f"{value:.4g}")
