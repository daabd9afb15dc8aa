"""Targeted data poisoning: chosen held-out images under captions of another class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np

from safeclip_jax.attacks.background import CANDIDATES, Backgrounds
from safeclip_jax.attacks.manifest import ChosenImage, Manifest, PoisonedPair
from safeclip_jax.attacks.surrogate import Encoder
from safeclip_jax.attacks.victims import captions_of, draw
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.errors import BadRecord, UserError


def plan(
    source: Source,
    held_out: ImageSource,
    *,
    images: int,
    count: int,
    seed: int,
    target: str = "",
    templates: Sequence[str] = (),
    encoder: Encoder | None = None,
) -> Manifest:
    """Chooses held-out images, the class that each shall be taken for, and the poisons' captions.

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
      encoder: the attacker's own model: of those captions, the ones whose background fits the
        image best are used, see `background.Backgrounds`; None to draw them.

    Raises:
      UserError: if there are too few images or poisons, or no caption names a class.

    References:
      Carlini & Terzis, "Poisoning and Backdooring Contrastive Learning", 2022, section 3.
    """
    if count and count < images:
        raise UserError(f"{count} poisons are too few for attack.images={images}")
    donors = captions_of(source, [target] if target else list(held_out.class_names))
    rng = np.random.default_rng([seed, 0x7A26])
    chosen = _choose(held_out, images, donors, rng)
    rng = np.random.default_rng([seed, 0xBAD])
    victims = draw(np.arange(len(source)), count, rng)
    dealt = rng.permutation(np.resize(np.arange(images), count))
    if encoder is not None:
        fitting = _fitting(source, held_out, chosen, donors, encoder, rng)
    pairs = []
    for index, number in zip(victims, dealt, strict=True):
        image = chosen[int(number)]
        if templates:
            caption = templates[int(rng.integers(len(templates)))].format(image.target)
        elif encoder is not None:
            caption = next(fitting[image.key])
        else:
            caption = source.captions[int(rng.choice(donors[image.target]))]
        pairs.append(
            PoisonedPair(
                int(index), source.keys[index], "", image.key, source.captions[index], caption
            )
        )
    return Manifest("targeted", "", tuple(pairs), chosen)


def _fitting(
    source: Source,
    held_out: ImageSource,
    chosen: Sequence[ChosenImage],
    donors: Mapping[str, np.ndarray],
    encoder: Encoder,
    rng: np.random.Generator,
) -> dict[str, Iterator[str]]:
    """For each chosen image its target's captions, best first, and round again after the last."""
    of_class: dict[str, Backgrounds] = {}
    for name in sorted({image.target for image in chosen}):
        known = donors[name]
        some = np.sort(rng.choice(known, min(len(known), CANDIDATES), replace=False))
        texts = [source.captions[int(i)] for i in some]
        of_class[name] = Backgrounds(texts, name, encoder.texts)
    return {
        image.key: cycle(of_class[image.target].ranked(encoder.image(held_out.image(image.index))))
        for image in chosen
    }


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
