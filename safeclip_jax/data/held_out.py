"""What is held out for evaluation: labelled images, or pairs, and what may be learned beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from safeclip_jax.data import presets, prompts
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.presets import PRESETS
from safeclip_jax.data.prompts import Wording
from safeclip_jax.data.sources import DRAWN, KINDS, SourceOptions, open_part
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.data.sources.mix import ImageSubset, Subset
from safeclip_jax.data.sources.relations import PROMPTS as RELATION_PROMPTS
from safeclip_jax.data.sources.scenes import PROMPTS as SCENE_PROMPTS
from safeclip_jax.errors import UserError, unknown

Learn = Callable[[], tuple[ImageSource, ImageSource | None]]
_OF_DRAWN = {"scenes": SCENE_PROMPTS, "relations": RELATION_PROMPTS}


@dataclass(frozen=True)
class HeldOut:
    """Images that no training pair has.

    Attributes:
      name: of the data set.
      images: with labels, or with captions of their own, or with both.
      class_names: what the labels index; empty without labels.
      prompts: the texts whose embeddings make a class's vector, for each class.
      mentioned: counts the training captions that name each class, int [C]; None if there are
        none to count.
      to_learn: opens labelled images that a probe may learn from, and others to validate on if
        the data set has them; None if there are none.
    """

    name: str
    images: ImageSource
    class_names: list[str]
    prompts: list[list[str]]
    to_learn: Learn | None = None
    mentioned: Callable[[], np.ndarray] | None = None

    @cached_property
    def distinct(self) -> tuple[ImageSource, np.ndarray]:
        """The source with each image once, and for each pair the place of its image there."""
        numbers = self.images.image_numbers()
        _, firsts, places = np.unique(numbers, return_index=True, return_inverse=True)
        if len(firsts) == len(places):
            return self.images, np.arange(len(places))
        return ImageSubset(self.images, firsts), places


@dataclass(frozen=True)
class Request:
    """What to evaluate on.

    Attributes:
      source: a name in `PRESETS`, or KIND or KIND:PATH.
      options: of the source; of a preset, `test` stands for the split that is evaluated.
      part: of the source's pairs, as `data.part`.
      prompts: a JSON file, see `prompts.read`; empty for templates.
      learn: KIND:PATH of what probes learn from; empty for the source's training split.
      wordnet: as `data.wordnet`.
    """

    source: str
    options: SourceOptions
    part: tuple[float, float] = (0.0, 1.0)
    prompts: str = ""
    learn: str = ""
    wordnet: str = "auto"


def open_held_out(request: Request) -> HeldOut:
    """Opens a data set for evaluation.

    Raises:
      UserError: if it or its prompts cannot be used.
    """
    preset = PRESETS.get(request.source)
    if preset is None and request.source.partition(":")[0] not in KINDS:
        raise unknown("data set to evaluate on", request.source, [*PRESETS, *KINDS])
    options = request.options
    spec = f"tfds:{preset.tfds}" if preset else request.source
    if preset and options.split == "test":
        options = replace(options, split=preset.test)
    source = open_part(spec, options, request.part, at_most=True)
    if preset and preset.occurring:
        source = _Occurring(source)
    names = list(source.class_names)
    wording = _wording(request, names)
    images = Resized(source, options.size)
    return HeldOut(request.source, images, names, wording.texts(names), _learn(request, options))


def _wording(request: Request, names: list[str]) -> Wording:
    if request.prompts:
        found = prompts.read(request.prompts)
        strangers = (found.classes.keys() | found.prompts.keys()) - set(names)
        if strangers:
            raise UserError(
                f"prompts {request.prompts}: {request.source} has no class {min(strangers)!r}"
            )
        return found
    if request.source in PRESETS:
        return presets.wording(PRESETS[request.source], names, request.wordnet)
    return Wording(_OF_DRAWN[request.source]) if request.source in DRAWN else Wording()


def _learn(request: Request, options: SourceOptions) -> Learn | None:
    """Opens what probes learn from once it is asked for; None if that is what is evaluated."""
    preset = PRESETS.get(request.source)
    validation = preset.validation if preset else ""
    if request.learn:
        spec, split = request.learn, "train"
    elif preset and preset.learn:
        spec, split = f"tfds:{preset.tfds}", preset.learn
    elif request.source in DRAWN or request.source.startswith("tfds:"):
        spec, split = request.source, "train"
        if options.split == split:
            return None
    else:
        return None

    def opened(split: str) -> ImageSource:
        of_split = replace(options, split=split, count=options.count if spec in DRAWN else 0)
        return Resized(open_part(spec, of_split), options.size)

    return cache(lambda: (opened(split), opened(validation) if validation else None))


class _Occurring(Subset):
    """A source with only the classes that occur in it."""

    def __init__(self, source: Source):
        super().__init__(source, np.arange(len(source)))
        if source.labels is None:
            return
        occurring, self.labels = np.unique(source.labels, return_inverse=True)
        self.class_names = [source.class_names[i] for i in occurring]
