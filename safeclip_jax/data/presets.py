"""The field's labelled data sets, as TensorFlow Datasets has them, and our words for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from safeclip_jax.data import prompts, wordnet
from safeclip_jax.data.prompts import TEMPLATES, Wording
from safeclip_jax.errors import UserError


@dataclass(frozen=True)
class Preset:
    """A data set to evaluate on.

    Attributes:
      tfds: its name there.
      test: the split that is evaluated.
      learn: the split that probes learn from; empty for none.
      validation: the split they are validated on; empty for a part of `learn`.
      templates: texts with `{}` for the class.
      classes: a class's words where they are not its label.
      occurring: whether only the classes that occur in the test split count.
    """

    tfds: str
    test: str = "test"
    learn: str = "train"
    validation: str = ""
    templates: Sequence[str] = TEMPLATES
    classes: Mapping[str, str] = field(default_factory=dict)
    occurring: bool = False


_PHOTOS = (
    *TEMPLATES,
    "a close photo of a {}",
    "a photo of one {}",
    "a blurred photo of a {}",
    "a dark photo of a {}",
    "a photo of a large {}",
    "a photo of a small {}",
)
_RENDITIONS = ("a drawing of a {}", "a sketch of a {}", "a painting of a {}", "a {} as a toy")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SYNSET = re.compile(r"n\d{8}")


def _kind(kind: str) -> tuple[str, ...]:
    """Templates that say what kind of thing a class is."""
    return tuple(f"{template}, a kind of {kind}" for template in TEMPLATES)


PRESETS: dict[str, Preset] = {
    "cifar10": Preset("cifar10", templates=_PHOTOS),
    "cifar100": Preset("cifar100", templates=_PHOTOS),
    "dtd": Preset(
        "dtd",
        validation="validation",
        templates=("a photo of a {} texture", "a {} surface", "something with a {} pattern"),
    ),
    "flowers": Preset("oxford_flowers102", validation="validation", templates=_kind("flower")),
    "food101": Preset("food101", test="validation", templates=_kind("food")),
    "pets": Preset("oxford_iiit_pet", templates=_kind("pet")),
    "cars": Preset("cars196", templates=_kind("car")),
    "caltech101": Preset(
        "caltech101",
        templates=_PHOTOS,
        classes={
            "background_google": "background scene",
            "faces": "person's face",
            "faces_easy": "face from near",
            "car_side": "car from the side",
        },
    ),
    "stl10": Preset("stl10", templates=_PHOTOS),
    "svhn": Preset(
        "svhn_cropped",
        templates=("the digit {} of a house number", "a photo of the digit {}", "the number {}"),
        classes={str(number): f"{number}, {word}" for number, word in enumerate(_DIGITS)},
    ),
    "imagenet1k": Preset("imagenet2012", test="validation", templates=_PHOTOS),
    "imagenetv2": Preset("imagenet_v2", learn="", templates=_PHOTOS),
    "imagenet-a": Preset("imagenet_a", learn="", templates=_PHOTOS, occurring=True),
    "imagenet-r": Preset(
        "imagenet_r", learn="", templates=(*_PHOTOS, *_RENDITIONS), occurring=True
    ),
    "imagenet_sketch": Preset("imagenet_sketch", learn="", templates=(*_PHOTOS, *_RENDITIONS)),
    "coco_captions": Preset("coco_captions", learn=""),
}


def wording(preset: Preset, labels: Sequence[str], thesaurus: str) -> Wording:
    """The preset's words; ImageNet's labels, which are numbers of synsets, from WordNet.

    Args:
      preset: of the data set.
      labels: all of its classes.
      thesaurus: as `data.wordnet`.

    Raises:
      UserError: if WordNet is needed and not there.
    """
    found = Wording(preset.templates, preset.classes)
    if not any(_SYNSET.fullmatch(label) for label in labels):
        return found
    folder = wordnet.find(thesaurus)
    if folder is None:
        raise UserError(
            f"{preset.tfds} names its classes by numbers of WordNet: install it ('apt install "
            "wordnet-base', or nltk's), or give a JSON file of prompts"
        )
    return replace(found, classes=_names(folder, labels))


def _names(folder: Path, labels: Sequence[str]) -> dict[str, str]:
    """The first word of each synset, with its hypernym where two classes share the word."""
    synsets = {
        label: wordnet.noun(folder, int(label[1:])) for label in labels if _SYNSET.fullmatch(label)
    }
    times = Counter(words[0].lower() for words, _ in synsets.values())
    names = {}
    for label, (words, above) in synsets.items():
        names[label] = prompts.readable(words[0])
        if times[words[0].lower()] > 1 and above is not None:
            names[label] += f", a kind of {wordnet.noun(folder, above)[0][0]}"
    return names
