"""Image features kept on disk, by the digests of model, data and trigger."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.errors import BadRecord
from safeclip_jax.evaluation.task import Embedded, EmbedImages
from safeclip_jax.inference.model import Model
from safeclip_jax.system import arrays_file, atomic_file, json_text

_READERS = 8


@dataclass
class KeptFeatures:
    """`task.EmbedImages` that computes what it has not computed before.

    A file that cannot be read is computed again.

    Attributes:
      embed: computes.
      model: digest of the model.
      folder: of the files; made if it is not there.
      skipped: why images could not be used, by key: what `embed` notes, and what the files say.
    """

    embed: EmbedImages
    model: str
    folder: Path
    skipped: dict[str, str]
    _sources: dict[int, tuple[ImageSource, str]] = field(default_factory=dict)

    def __call__(self, images: ImageSource, trigger: Trigger | None = None) -> Embedded:
        marks = [self.model, self._digest(images)]
        if trigger is not None:
            marks.append(_of_trigger(images, trigger))
        path = self.folder / f"{digest_of(marks)}.npz"
        kept = _read(path)
        if kept is not None:
            found, reasons = kept
            self.skipped |= {images.keys[i]: why for i, why in reasons.items()}
            return found
        found = self.embed(images, trigger)
        if jax.process_index() == 0:
            with contextlib.suppress(OSError):  # full or read only: computed next time again
                self._keep(path, found, images)
        return found

    def _keep(self, path: Path, found: Embedded, images: ImageSource) -> None:
        bad = np.setdiff1d(np.arange(len(images)), found.usable)
        reasons = {int(i): self.skipped.get(images.keys[i], "") for i in bad}
        text = np.frombuffer(json.dumps(reasons).encode(), np.uint8)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file.writing(path) as file:
            np.savez(file, vectors=found.vectors, usable=found.usable, reasons=text)

    def _digest(self, images: ImageSource) -> str:
        if id(images) not in self._sources:
            self._sources[id(images)] = images, of_source(images)
        return self._sources[id(images)][1]


def of_source(images: ImageSource) -> str:
    """Digest of all images as they are stored, and of the size that they are resized to."""
    stored: Source = images.stored if isinstance(images, Resized) else images
    size = images.size if isinstance(images, Resized) else 0

    def of_image(index: int) -> bytes:
        try:
            image = stored.image(index)
        except BadRecord as reason:
            return f"bad: {reason}".encode()
        content = image if isinstance(image, bytes) else image.tobytes()
        return hashlib.blake2b(content, digest_size=16).digest()

    with ThreadPoolExecutor(_READERS) as pool:
        return digest_of([str(size), *pool.map(of_image, range(len(stored)))])


def of_model(model: Model) -> str:
    """Digest of a model's weights, shape and preprocessing."""
    leaves = jax.tree.leaves_with_path(jax.device_get(model.variables))
    return digest_of(
        [
            repr(model.config),
            *(part for path, x in leaves for part in (jax.tree_util.keystr(path), x.tobytes())),
        ]
    )


def _of_trigger(images: ImageSource, trigger: Trigger) -> str:
    """Digest of a trigger by what it is and what it does to the first usable image."""
    for index in range(len(images)):
        try:
            return digest_of([repr(trigger), trigger(images.image(index), index).tobytes()])
        except BadRecord:
            continue
    return digest_of([repr(trigger)])


def digest_of(parts: Iterable[str | bytes]) -> str:
    """Digest of parts in their order."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _read(path: Path) -> tuple[Embedded, dict[int, str]] | None:
    """Vectors, and why the other images could not be used, by index."""
    try:
        arrays = arrays_file.read(path)
        reasons = json_text.read(arrays["reasons"].tobytes())
        found = Embedded(arrays["vectors"], arrays["usable"])
        return found, {int(i): str(why) for i, why in reasons.items()}
    except Exception:
        return None
