"""The training pairs and the held-out images that a config names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.data.sources.folder import TEMPLATES
from safeclip_jax.data.sources.mix import Concatenation, part, sample, weighted
from safeclip_jax.data.sources.scenes import PROMPTS as SCENE_PROMPTS
from safeclip_jax.errors import UserError, unknown

PROMPTS = ("templates", "captions")
_CAPTIONS_A_CLASS = 50
_OF_A_SOURCE = ("image_column", "caption_column", "label_column", "images", "split", "data_dir")


@dataclass(frozen=True)
class HeldOut:
    """Labelled images for zero-shot evaluation.

    Attributes:
      images: every pair has a label.
      class_names: what the labels index.
      prompts: the texts whose embeddings make a class's vector, for each class.
    """

    images: ImageSource
    class_names: list[str]
    prompts: list[list[str]]


def own_seed(config: ConfigDict, seed: int | None) -> int:
    """A part's own seed, or the run's."""
    return config.seed if seed is None else seed


def training_pairs(config: ConfigDict, cache: Path | None) -> ImageSource:
    """The pairs of `raw_pairs` at the model's image size."""
    return Resized(raw_pairs(config, cache), config.model.image_size)


def raw_pairs(config: ConfigDict, cache: Path | None) -> Source:
    """Opens `data.source`, or the sources of `data.mix`; the images are as stored.

    Args:
      config: the run's.
      cache: folder for indices, or None.

    Raises:
      UserError: if a source cannot be used.
    """
    data = config.data
    if not data.mix:
        return _one(config, {}, cache)
    sources = []
    for entry in data.mix:
        changes = dict(entry)
        weight = changes.pop("weight", 1.0)
        source = _one(config, changes, cache)
        sources.append(weighted(source, weight, own_seed(config, data.seed)))
    return Concatenation(sources)


def held_out(config: ConfigDict, pairs: Source, cache: Path | None) -> HeldOut | None:
    """Opens `evaluate.source`, or returns None if it is empty.

    Args:
      config: the run's.
      pairs: the clean training pairs, for `evaluate.prompts=captions`.
      cache: folder for indices, or None.

    Raises:
      UserError: if the source has no labels or the prompts cannot be made.
    """
    evaluate = config.evaluate
    if not evaluate.source:
        return None
    changes = {name: getattr(evaluate, name) for name in ("source", "split", "part")}
    source = _one(config, {**changes, "pairs": evaluate.pairs}, cache, at_most=True)
    if source.labels is None:
        raise UserError(
            f"evaluate.source={evaluate.source!r} has no labels: set data.label_column, or "
            "leave evaluate.source empty"
        )
    names = list(source.class_names)
    if evaluate.prompts not in PROMPTS:
        raise unknown("evaluate.prompts", evaluate.prompts, PROMPTS)
    if evaluate.prompts == "captions":
        prompts = _captions_of_classes(pairs, names)
    else:
        templates = SCENE_PROMPTS if evaluate.source == "scenes" else TEMPLATES
        prompts = [[template.format(name) for template in templates] for name in names]
    any_target = config.attack.kind == "targeted" and not config.attack.target
    if config.attack.target not in names and not any_target:
        raise unknown("attack.target", config.attack.target, names)
    return HeldOut(Resized(source, config.model.image_size), names, prompts)


def _one(
    config: ConfigDict, changes: dict[str, Any], cache: Path | None, at_most: bool = False
) -> Source:
    """Opens one source: its part, and of that the pairs asked for."""
    data = config.data
    unknown_keys = changes.keys() - {"source", "pairs", "part", *_OF_A_SOURCE}
    if unknown_keys:
        raise unknown("key of data.mix", min(unknown_keys), ("weight", "source", *_OF_A_SOURCE))
    values = {name: changes.get(name, data[name]) for name in ("source", "pairs", "part")}
    options = SourceOptions(
        **{name: changes.get(name, data[name]) for name in _OF_A_SOURCE},
        count=values["pairs"],
        seed=own_seed(config, data.seed),
        size=config.model.image_size,
        cache=cache,
    )
    source = open_source(values["source"], options)
    start, stop = values["part"]
    source = part(source, start, stop, options.seed)
    count = values["pairs"]
    drawn = values["source"] == "scenes"  # by their count, so that parts are of it
    if drawn or not count or (at_most and count >= len(source)):
        return source
    return sample(source, count, options.seed)


def _captions_of_classes(pairs: Source, names: list[str]) -> list[list[str]]:
    """Training captions of each class, a fixed choice of at most so many."""
    if pairs.labels is None:
        raise UserError("evaluate.prompts=captions needs training pairs with labels")
    prompts = []
    for name in names:
        known = name in pairs.class_names
        number = list(pairs.class_names).index(name) if known else -1
        members = np.flatnonzero(pairs.labels == number)
        chosen = np.random.default_rng(number + 1).permutation(members)[:_CAPTIONS_A_CLASS]
        captions = [pairs.captions[int(i)] for i in np.sort(chosen)]
        prompts.append(captions or [template.format(name) for template in TEMPLATES])
    return prompts
