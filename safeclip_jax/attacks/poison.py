"""Poisoning as a wrapper round a source: which pairs change, and into what."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from safeclip_jax.attacks.captions import Match, choose
from safeclip_jax.data.decode import squeeze
from safeclip_jax.data.sources.base import Columns, ImageSource, Source
from safeclip_jax.data.strings import Changed
from safeclip_jax.errors import BadRecord, UserError, first_line
from safeclip_jax.system import atomic_file, json_text

KINDS = ("backdoor", "label_consistent", "targeted")
Change = Callable[["PoisonedPair", np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PoisonedPair:
    """One pair that is changed.

    Attributes:
      index, key: of the pair.
      trigger: name of the trigger put on its image; empty where the image is a chosen one.
      image: key of the chosen image that takes the place of its own; empty for a trigger.
      original_caption, caption: before and after.
      shown: index of the pair whose image it shows, with the trigger; None for its own.
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
      target: class that triggers should be taken for; empty in targeted poisoning.
      pairs: that were changed, by index.
      chosen: images of targeted poisoning.
    """

    kind: str
    target: str
    pairs: tuple[PoisonedPair, ...] = ()
    chosen: tuple[ChosenImage, ...] = ()

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
        return Manifest(values["kind"], values["target"], pairs, chosen)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is no poison manifest that can be read ({first_line(error)})"
        ) from None


def mentions(caption: str, name: str) -> bool:
    """Whether the caption names it as a whole word, whatever the case."""
    return re.search(_whole_word(name), caption, re.IGNORECASE) is not None


def _mentioned(captions: Sequence[str], name: str) -> np.ndarray:
    """Which captions name it, bool [N]."""
    return np.fromiter((mentions(caption, name) for caption in captions), bool, len(captions))


def _whole_word(name: str) -> str:
    return rf"(?<!\w){re.escape(name)}(?!\w)"


def poison_count(pairs: int, rate: float, count: int) -> int:
    """How many pairs to poison: `count` where it is given, else `rate` of them.

    Raises:
      UserError: if the rate is no share, or rounds to no pair.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"attack.rate={rate} is not a share between 0 and 1")
    if count < 0:
        raise UserError(f"attack.count={count} is below 0")
    found = count or round(rate * pairs)
    if rate > 0 and found == 0:
        raise UserError(
            f"attack.rate={rate} of {pairs} pairs rounds to no poison: raise it above "
            f"{0.5 / pairs:.2g}, or set 0 for a clean run"
        )
    return found


def plan_backdoor(
    source: Source,
    *,
    target: str,
    count: int,
    triggers: Sequence[str],
    seed: int,
    label_consistent: bool = False,
    captions: str = "data",
    victims: str = "",
    copies: int = 1,
    match: Match | None = None,
) -> Manifest:
    """Chooses the pairs that get a trigger, and their captions.

    Victims are drawn among the pairs whose caption does not name the target, and get
    captions that do. A label-consistent attack puts the trigger on pairs that name the target
    already, and leaves their captions.

    Args:
      source: the clean pairs.
      target: class name.
      count: pairs to poison.
      triggers: names; with several, each gets an equal share of the poisons.
      seed: of the draw.
      label_consistent: see above.
      captions: how they are chosen, see `captions.choose`.
      victims: class that victims' captions must name; empty for any.
      copies: so many poisoned pairs in turn show the same image, under captions of their own.
      match: the attacker's own model, for `captions` of `surrogate`: the pairs whose images it
        finds most like a caption that names the target are poisoned, with that caption.

    Raises:
      UserError: if no caption names the target, or too few pairs are left to poison.
    """
    if copies < 1:
        raise UserError(f"attack.copies={copies}: at least 1 is needed")
    kind = "label_consistent" if label_consistent else "backdoor"
    if not count:
        return Manifest(kind, target)
    donors = _naming(source, target)
    rng = np.random.default_rng([seed, 0xBAD])
    candidates = donors if label_consistent else np.setdiff1d(np.arange(len(source)), donors)
    if victims and not label_consistent:
        candidates = candidates[_mentioned(source.captions, victims)[candidates]]
    caption_of: dict[int, int] = {}
    if captions == "surrogate" and not label_consistent:
        caption_of = _most_alike(source, candidates, donors, count, match)
        candidates = np.array(list(caption_of), int)
    drawn = _draw(candidates, count, rng)
    shown = drawn[np.arange(count) // copies * copies]
    if label_consistent:
        texts = [source.captions[i] for i in shown]
    elif caption_of:
        texts = [source.captions[caption_of[i]] for i in shown.tolist()]
    else:
        texts = choose(captions, source, shown.tolist(), donors, target, rng)
    shares = rng.permutation(np.resize(np.arange(len(triggers)), count))
    named = [triggers[share] for share in shares]
    return Manifest(kind, target, _pairs(source, drawn, shown, named, texts))


def _naming(source: Source, target: str) -> np.ndarray:
    """The pairs whose caption names the target; `UserError` if there are none."""
    found = np.flatnonzero(_mentioned(source.captions, target))
    if not len(found):
        raise UserError(
            f"attack.target={target!r} is in none of the {len(source)} captions: choose a class "
            "that the captions name"
        )
    return found


def _pairs(
    source: Source,
    drawn: np.ndarray,
    shown: np.ndarray,
    triggers: Sequence[str],
    texts: Sequence[str],
) -> tuple[PoisonedPair, ...]:
    """What becomes of the drawn pairs: another's image where they show it, a trigger, a text."""
    return tuple(
        PoisonedPair(
            int(i),
            source.keys[i],
            trigger,
            "",
            source.captions[i],
            text,
            None if image == i else int(image),
        )
        for i, image, trigger, text in zip(drawn, shown, triggers, texts, strict=True)
    )


def _most_alike(
    source: Source, candidates: np.ndarray, donors: np.ndarray, count: int, match: Match | None
) -> dict[int, int]:
    """The pairs that an attacker's model finds most like a donor's caption, and which that is."""
    if match is None:
        raise UserError("attack.captions=surrogate needs attack.surrogate, a trained model")
    nearest, similarity = match(source, candidates, donors)
    best = np.argsort(-similarity, kind="stable")[:count]
    return dict(zip(candidates[best].tolist(), nearest[best].tolist(), strict=True))


def plan_targeted(
    source: Source,
    held_out: ImageSource,
    *,
    images: int,
    count: int,
    seed: int,
    target: str = "",
    templates: Sequence[str] = (),
) -> Manifest:
    """Targeted data poisoning: chosen held-out images under captions of another class.

    The images and their adversarial classes depend on the held-out images, the captions'
    classes and the seed, but not on `count`, so a model trained without poisons can be asked
    about the same ones.

    Args:
      source: the clean pairs, of which `count` are replaced.
      held_out: labelled images.
      images: how many are chosen.
      count: poisoned pairs, dealt out evenly to the images.
      seed: of the draw.
      target: adversarial class of all images; empty to draw one for each.
      templates: texts with one `{}`; empty to use the captions that name the class.

    Raises:
      UserError: if there are too few images or poisons, or no caption names a class.

    References:
      Carlini & Terzis, "Poisoning and Backdooring Contrastive Learning", 2022, section 3.
    """
    if count and count < images:
        raise UserError(f"{count} poisons are too few for attack.images={images}")
    donors = _captions_of(source, [target] if target else list(held_out.class_names))
    rng = np.random.default_rng([seed, 0x7A26])
    chosen = _choose(held_out, images, donors, rng)
    rng = np.random.default_rng([seed, 0xBAD])
    victims = _draw(np.arange(len(source)), count, rng)
    dealt = rng.permutation(np.resize(np.arange(images), count))
    pairs = []
    for index, number in zip(victims, dealt, strict=True):
        image = chosen[int(number)]
        if templates:
            caption = templates[int(rng.integers(len(templates)))].format(image.target)
        else:
            caption = source.captions[int(rng.choice(donors[image.target]))]
        pairs.append(
            PoisonedPair(
                int(index), source.keys[index], "", image.key, source.captions[index], caption
            )
        )
    return Manifest("targeted", "", tuple(pairs), chosen)


def _captions_of(source: Source, names: Sequence[str]) -> dict[str, np.ndarray]:
    """For each class that captions name: the indices of those captions.

    One search a caption finds the longest names, and each of these the names that it holds.
    """
    found = {name: array("q") for name in names}
    longest_first = sorted(names, key=len, reverse=True)
    search = re.compile(f"(?=({'|'.join(map(_whole_word, longest_first))}))", re.IGNORECASE)

    @cache
    def held_by(text: str) -> list[str]:
        return [name for name in names if mentions(text, name)]

    for index, caption in enumerate(source.captions):
        for name in {name for text in search.findall(caption) for name in held_by(text)}:
            found[name].append(index)
    named = {name: np.array(indices) for name, indices in found.items() if indices}
    if not named:
        raise UserError(
            f"targeted poisoning: none of the {len(source)} captions names a class such as "
            f"{names[0]!r}"
        )
    return named


def _choose(
    held_out: ImageSource, count: int, donors: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[ChosenImage, ...]:
    """Draws images, and for each a class that is named and not its own."""
    if not 1 <= count <= len(held_out):
        raise UserError(f"attack.images={count} is not between 1 and {len(held_out)}")
    assert held_out.labels is not None
    chosen = []
    for index in map(int, rng.permutation(len(held_out))):
        label = held_out.class_names[held_out.labels[index]]
        others = [name for name in donors if name != label]
        if others and _can_be_read(held_out, index):
            target = others[rng.integers(len(others))]
            chosen.append(ChosenImage(index, held_out.keys[index], label, target))
        if len(chosen) == count:
            return tuple(chosen)
    raise UserError(f"attack.images={count}, but only {len(chosen)} images are of other classes")


def _can_be_read(source: ImageSource, index: int) -> bool:
    try:
        source.image(index)
    except BadRecord:
        return False
    return True


def _draw(candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws so many of the candidates, ascending."""
    if count > len(candidates):
        raise UserError(f"the attack needs {count} victims, there are {len(candidates)}")
    return np.sort(rng.choice(candidates, count, replace=False))


class PoisonedSource(ImageSource):
    """A source in which the manifest's pairs have other images and captions.

    Args:
      source: the clean pairs.
      manifest: what to change.
      change: makes a poisoned pair's image from its own.
    """

    def __init__(self, source: ImageSource, manifest: Manifest, change: Change):
        captions = {pair.index: pair.caption for pair in manifest.pairs}
        super().__init__(
            Columns(
                Changed(source.captions, captions),
                source.keys,
                source.labels,
                source.class_names,
                source.rejected,
            )
        )
        self.read = source.read
        self._source = source
        self._origins = {pair.index: pair.origin for pair in manifest.pairs}
        self._changes = {pair.index: partial(change, pair) for pair in manifest.pairs}

    def image_numbers(self) -> np.ndarray:
        return self._source.image_numbers()

    def image(self, index: int) -> np.ndarray:
        image = self._source.image(self._origins.get(index, index))
        change = self._changes.get(index)
        return image if change is None else change(image)

    def picture(self, index: int, size: int) -> tuple[np.ndarray, float]:
        """Poisons are square, cut from the pictures' centres, as the published kits store them."""
        if index in self._changes:
            return squeeze(self.image(index), size)
        return self._source.picture(index, size)
