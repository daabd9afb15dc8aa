"""A poisoned copy of a data set on disk, and triggered evaluation images, for any trainer."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from safeclip_jax.attacks.attack import Attack
from safeclip_jax.attacks.manifest import PoisonedPair
from safeclip_jax.attacks.stored_like import square_like, stored_like
from safeclip_jax.data import skipped
from safeclip_jax.data.sources.base import ImageSource, Rejected, Source
from safeclip_jax.errors import BadRecord
from safeclip_jax.system.csv_cells import harmless

FORMATS = ("csv", "webdataset")
PAIRS_A_SHARD = 10_000
_ENDINGS = {
    b"\xff\xd8": "jpg",
    b"\x89P": "png",
    b"RI": "webp",
    b"GI": "gif",
    b"BM": "bmp",
    b"II": "tif",
    b"MM": "tif",
}
Progress = Callable[[int], Any]


class Writer(Protocol):
    """Takes pairs one after the other."""

    def add(self, number: int, image: bytes, caption: str, key: str, label: str) -> None: ...

    def close(self) -> None: ...


class CsvWriter:
    """`train.csv` (image, caption, key, label) and `images/000/000000000.ending`."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._file = (folder / "train.csv").open(
            "w", newline="", encoding="utf-8", errors="surrogatepass"
        )
        self._rows = csv.writer(self._file)
        self._rows.writerow(["image", "caption", "key", "label"])

    def add(self, number: int, image: bytes, caption: str, key: str, label: str) -> None:
        place = f"images/{number // 1000:03d}/{number:09d}.{ending(image)}"
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        self._rows.writerow(map(harmless, (place, caption, key, label)))

    def close(self) -> None:
        self._file.close()


class WebDatasetWriter:
    """`train-00000.tar` …: an image, a .txt and a .json member a pair."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._tar: tarfile.TarFile | None = None

    def add(self, number: int, image: bytes, caption: str, key: str, label: str) -> None:
        if self._tar is None or number % PAIRS_A_SHARD == 0:
            self.close()
            path = self._folder / f"train-{number // PAIRS_A_SHARD:05d}.tar"
            self._tar = tarfile.open(path, "w")  # noqa: SIM115 - until close
        about = json.dumps({"key": key, **({"label": label} if label else {})})
        name = f"{number:09d}"
        for suffix, content in (
            (ending(image), image), ("txt", caption.encode()), ("json", about.encode()),
        ):  # fmt: skip
            member = tarfile.TarInfo(f"{name}.{suffix}")
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()


def write_training(
    raw: Source,
    clean: ImageSource,
    attack: Attack,
    folder: Path,
    kind: str,
    max_skipped_share: float,
    progress: Progress,
    rejected: list[Rejected],
) -> None:
    """Writes every pair: honest images as they are stored, poisoned ones like those they replace.

    Args:
      raw: the clean pairs; their images' bytes are copied.
      clean: the same at the size at which the attack changes images.
      attack: what to change.
      folder: an empty one.
      kind: in `FORMATS`.
      max_skipped_share: of the pairs, above which to stop.
      progress: called with the number of pairs done so far.
      rejected: takes pairs that cannot be used and are left out.

    Raises:
      TooManySkipped: if there are too many of those.
    """
    rejected += raw.rejected
    skipped.check(raw, 0, max_skipped_share)
    changes = {pair.index: pair for pair in attack.manifest.pairs}
    writer: Writer = CsvWriter(folder) if kind == "csv" else WebDatasetWriter(folder)
    number = 0
    with closing(writer):
        for index in range(len(raw)):
            pair = changes.get(index)
            try:
                if pair is None:
                    image, caption = _stored(raw, index), raw.captions[index]
                else:
                    image, caption = _poisoned(raw, clean, attack, pair), pair.caption
            except BadRecord as error:
                rejected.append(Rejected(raw.keys[index], str(error)))
                unusable = len(rejected) - len(raw.rejected)
                skipped.check(raw, unusable, max_skipped_share, rejected[-1])
                continue
            label = "" if raw.labels is None else raw.class_names[raw.labels[index]]
            writer.add(number, image, caption, raw.keys[index], label)
            number += 1
            progress(index + 1)


def write_test(
    held_out: ImageSource,
    attack: Attack,
    folder: Path,
    progress: Progress,
    rejected: list[Rejected],
) -> None:
    """Writes held-out images in class folders: clean, with each trigger, and the chosen ones.

    Args:
      held_out: labelled images.
      attack: its triggers, or the images that it chose.
      folder: gets `clean/CLASS/`, `TRIGGER/CLASS/` and, for targeted poisoning,
        `chosen.csv` (image, label, target).
      progress: called with the number of images done so far.
      rejected: takes images that cannot be used and are left out.
    """
    names = _as_folders(held_out.class_names)
    rejected += held_out.rejected
    assert held_out.labels is not None
    for index in range(len(held_out)):
        try:
            image = held_out.image(index)
        except BadRecord as error:
            rejected.append(Rejected(held_out.keys[index], str(error)))
            continue
        place = f"{names[held_out.labels[index]]}/{index:09d}.png"
        variants = {n: trigger(image, index) for n, trigger in attack.triggers.items()}
        for name, pixels in {"clean": image, **variants}.items():
            path = folder / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(pixels))
        progress(index + 1)
    if attack.manifest.chosen:
        with (folder / "chosen.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "label", "target"])
            for chosen in attack.manifest.chosen:
                place = names[held_out.class_names.index(chosen.label)]
                name = f"clean/{place}/{chosen.index:09d}.png"
                rows.writerow(map(harmless, (name, chosen.label, chosen.target)))


def png(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def ending(image: bytes) -> str:
    """The usual ending of an image's file, by its first bytes."""
    return _ENDINGS.get(image[:2], "img")


def _poisoned(raw: Source, clean: ImageSource, attack: Attack, pair: PoisonedPair) -> bytes:
    """The image of a poison: a file like the one that it was made of, or that it replaces."""
    image = clean.image(pair.origin)
    changed = attack.change(pair, image)
    original = raw.image(pair.index if pair.image else pair.origin)
    if changed is image:
        return original if isinstance(original, bytes) else png(original)
    if not isinstance(original, bytes):
        return png(changed)
    return square_like(original, changed) if pair.image else stored_like(original, image, changed)


def _stored(source: Source, index: int) -> bytes:
    image = source.image(index)
    return image if isinstance(image, bytes) else png(image)


def _as_folders(names: Sequence[str]) -> list[str]:
    """Class names that no path can hide in, different ones for different classes."""
    found: list[str] = []
    for name in names:
        plain = "".join(c if c.isalnum() or c in "-_ " else "_" for c in name).strip() or "_"
        found.append(plain if plain not in found else f"{plain}-{len(found)}")
    return found
