"""What an attack changed: the truth that evaluations compare with, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import atomic_file, json_text

KINDS = ("backdoor", "label_consistent", "targeted", "text_backdoor", "semantic", "natural")


@dataclass(frozen=True)
class PoisonedPair:
    """One pair that is changed.

    Attributes:
      index, key: of the pair.
      trigger: name of the trigger put on its image; empty where there is none.
      image: key of the chosen image that takes the place of its own; empty where none does.
      original_caption, caption: before and after.
      shown: index of the pair whose image it shows, changed or not; None for its own.
    """

    index: int
    key: str
    trigger: str
    image: str
    original_caption: str
    caption: str
    shown: int | None = None

    @property
    def origin(self) -> int:
        """Index of the pair whose image it changes and shows."""
        return self.index if self.shown is None else self.shown


@dataclass(frozen=True)
class ChosenImage:
    """A held-out image that targeted poisoning wants to be taken for another class.

    Attributes:
      index, key: of the image among the held-out ones.
      label: its own class.
      target: the adversarial class.
    """

    index: int
    key: str
    label: str
    target: str


@dataclass(frozen=True)
class Manifest:
    """What was changed: the truth that evaluations compare with.

    Attributes:
      kind: in `KINDS`.
      target: class to be taken for, as set; empty in targeted poisoning.
      pairs: that were changed, by index.
      chosen: images of targeted poisoning.
      targets: the class of each trigger, by its name; empty where all have `target`.
    """

    kind: str
    target: str
    pairs: tuple[PoisonedPair, ...] = ()
    chosen: tuple[ChosenImage, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)

    @property
    def indices(self) -> np.ndarray:
        """Poisoned pair indices, int32, ascending."""
        return np.array([pair.index for pair in self.pairs], np.int32)

    def save(self, path: Path) -> None:
        atomic_file.write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    def claim(self, path: Path) -> None:
        """Writes it where none is.

        Raises:
          UserError: if there is another one: a run goes on with the poisons that it began with.
        """
        if not path.exists():
            self.save(path)
        elif load(path) != self:
            raise UserError(
                f"{path} lists other poisons than are planned here (a surrogate chooses otherwise "
                "on other devices): go on where the run began, or in another folder"
            )


def load(path: Path) -> Manifest:
    """Reads a manifest that `Manifest.save` wrote; `UserError` if it cannot be read."""
    try:
        values = json_text.read(path.read_text())
        pairs = tuple(PoisonedPair(**pair) for pair in values["pairs"])
        chosen = tuple(ChosenImage(**image) for image in values["chosen"])
        return Manifest(
            values["kind"], values["target"], pairs, chosen, dict(values.get("targets", {}))
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is no poison manifest that can be read ({first_line(error)})"
        ) from None
