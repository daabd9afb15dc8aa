"""The texts that stand for a class in zero-shot classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import json_text

TEMPLATES = ("a photo of a {}", "a picture of a {}", "an image of a {}")
_KEYS = ("templates", "classes", "prompts")


@dataclass(frozen=True)
class Wording:
    """How classes are put into words.

    Attributes:
      templates: texts with one `{}` for the class's name.
      classes: a class's words, where they are not its label.
      prompts: for some labels, all of their texts, instead of templates.
    """

    templates: Sequence[str] = TEMPLATES
    classes: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("classes", "prompts"):
            by_label = {readable(label): value for label, value in getattr(self, name).items()}
            object.__setattr__(self, name, by_label)

    def texts(self, labels: Sequence[str]) -> list[list[str]]:
        """All texts of each class."""
        return [self._texts(label) for label in labels]

    def _texts(self, label: str) -> list[str]:
        label = readable(label)
        if label in self.prompts:
            return list(self.prompts[label])
        words = self.classes.get(label, label)
        return [template.replace("{}", words) for template in self.templates]


def readable(label: str) -> str:
    """A label as words: underscores stand for blanks."""
    return label.replace("_", " ")


def templated(label: str, templates: Sequence[str], index: int) -> str:
    """The caption of pair `index` where a data set has none: a function of its class and index."""
    choice = int(np.random.default_rng([index, 0xCA9]).integers(len(templates)))
    return templates[choice].format(readable(label))


def read(path: str) -> Wording:
    """Reads a wording from a JSON file with `templates`, `classes` and `prompts`, or some of them.

    A list is one of templates, and an object of lists gives the texts of each class, as in CuPL
    (Pratt et al., 2023). CLIP_benchmark's `{c}` stands for the class, too.

    Raises:
      UserError: if it is not of this form; it names what is not.
    """
    try:
        content = json_text.read(Path(path).read_bytes())
        content = {"templates": content} if isinstance(content, list) else content
        content = {"prompts": content} if _is_cupl(content) else content
    except (OSError, ValueError) as error:
        raise UserError(f"prompts {path} cannot be read: {first_line(error)}") from None
    if not isinstance(content, dict) or not content or set(content) - set(_KEYS):
        raise UserError(f"prompts {path}: an object with some of {', '.join(_KEYS)} is expected")
    templates = content.get("templates", list(TEMPLATES))
    if _are_texts(templates):
        templates = [text.replace("{c}", "{}") for text in templates]  # CLIP_benchmark's
    if not _are_texts(templates) or not all(text.count("{}") == 1 for text in templates):
        raise UserError(f"prompts {path}: templates are texts that each hold {{}} once")
    classes, prompts = content.get("classes", {}), content.get("prompts", {})
    if not isinstance(classes, dict) or not _are_texts(list(classes.values()) or ["-"]):
        raise UserError(f"prompts {path}: classes gives a text for each label")
    if not isinstance(prompts, dict) or not all(map(_are_texts, prompts.values())):
        raise UserError(f"prompts {path}: prompts gives a list of texts for each label")
    return Wording(templates, classes, prompts)


def _is_cupl(content: Any) -> bool:
    """Whether it gives whole texts, without a place for a class, by class."""
    if not isinstance(content, dict) or set(content) & set(_KEYS) or not content:
        return False
    lists = content.values()
    return all(map(_are_texts, lists)) and not any("{" in text for texts in lists for text in texts)


def _are_texts(values: Any) -> bool:
    listed = isinstance(values, list) and bool(values)
    return listed and all(isinstance(value, str) and value.strip() for value in values)
