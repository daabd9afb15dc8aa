"""The training pairs and the held-out images that a config names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.attacks.triggers.blend import BUILT_IN
from safeclip_jax.attacks.victims import each_named, mentions
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.held_out import HeldOut, Request, open_held_out
from safeclip_jax.data.prompts import Wording
from safeclip_jax.data.sources import DRAWN, SourceOptions, open_part
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.data.sources.mix import Concatenation, weighted
from safeclip_jax.errors import UserError, unknown
from safeclip_jax.runs.settings import RunSettings

PROMPTS = ("templates", "captions")
_CAPTIONS_A_CLASS = 50
OF_A_SOURCE = (
    "image_column",
    "caption_column",
    "label_column",
    "images",
    "split",
    "data_dir",
    "allow_missing",
    "columns",
)


def named(config: RunSettings) -> list[str]:
    """What a config names beside itself and drawn scenes: data, models and files, as KEY=VALUE."""
    data, evaluate = config.data, config.evaluate
    sources = {f"data.mix[{i}].source": e.get("source") for i, e in enumerate(data.mix)}
    found = sources or {"data.source": data.source}
    found |= {f"evaluate.also[{i}]": name for i, name in enumerate(evaluate.also)}
    found |= {"evaluate.source": evaluate.source, "evaluate.learn": evaluate.learn}
    if evaluate.prompts not in PROMPTS:
        found["evaluate.prompts"] = evaluate.prompts
    found["attack.surrogate"] = config.attack.surrogate
    found[f"{config.defense}.model"] = config.plan.scored_by
    blended: Any = config.attack.parameters()["blended"]
    if blended.pattern not in BUILT_IN:
        found["attack.blended.pattern"] = blended.pattern
    return [f"{key}={value}" for key, value in found.items() if value and value not in DRAWN]


def trusted(config: RunSettings, folder: Path, own_data: bool) -> None:
    """Refuses to open what a run's config names, unless the user says so.

    A folder may come from a stranger, and its config name files or servers of their choice.

    Args:
      config: of the run.
      folder: it was read from.
      own_data: whether the user says so.

    Raises:
      UserError: if the config names anything and the user does not say so.
    """
    names = named(config)
    if names and not own_data:
        raise UserError(
            f"{folder}/config.json names {', '.join(names)}: if you trust it, open that with "
            "--own-data"
        )


def training_pairs(config: RunSettings, cache: IndexCache | None) -> ImageSource:
    """The pairs of `raw_pairs` at the model's image size."""
    return Resized(raw_pairs(config, cache), config.model.image_size)


def raw_pairs(config: RunSettings, cache: IndexCache | None) -> Source:
    """Opens `data.source`, or the sources of `data.mix`; the images are as stored.

    Args:
      config: the run's.
      cache: of indices, or None.

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
        sources.append(weighted(source, weight, config.data_seed))
    return Concatenation(sources)


def held_out(config: RunSettings, pairs: ImageSource, cache: IndexCache | None) -> HeldOut | None:
    """Opens `evaluate.source`, or returns None if it is empty.

    Args:
      config: the run's.
      pairs: the clean training pairs: their captions are the prompts of
        `evaluate.prompts=captions`, and probes learn from them where the source has no split.
      cache: of indices, or None.

    Raises:
      UserError: if the source has no labels where it needs them, or the prompts cannot be made.
    """
    evaluate = config.evaluate
    if not evaluate.source:
        return None
    found = open_held_out(_request(config, evaluate.source, cache))
    if not found.class_names and {"zero_shot", "attack"} & set(evaluate.tasks):
        raise UserError(
            f"evaluate.source={evaluate.source!r} has no labels: set data.label_column, leave "
            "evaluate.source empty, or name in evaluate.tasks only what needs none"
        )
    if evaluate.prompts == "captions":
        found = replace(found, prompts=_captions_of_classes(pairs, found.class_names))
    if found.class_names:
        found = replace(found, mentioned=_counted(pairs, found.class_names))
    if found.to_learn is None and pairs.labels is not None:
        found = replace(found, to_learn=lambda: (pairs, None))
    any_target = config.attack.kind == "targeted" and not config.attack.target
    for target in config.attack.targets.values() or [config.attack.target]:
        if target not in found.class_names and found.class_names and not any_target:
            raise unknown("attack.target", target, found.class_names)
    if config.attack.victims and config.attack.victims not in found.class_names:
        raise unknown("attack.victims", config.attack.victims, found.class_names)
    _check_attribute(config, found.images)
    return found


def _check_attribute(config: RunSettings, images: Source) -> None:
    """`UserError` if a semantic backdoor has no held-out images to be measured on."""
    attribute = config.attack.without_triggers["attribute"]
    if not attribute or "attack" not in config.evaluate.tasks:
        return
    if not any(mentions(caption, attribute) for caption in images.captions):
        raise UserError(
            f"attack.attribute={attribute!r} is in no caption of "
            f"evaluate.source={config.evaluate.source!r}, so its success cannot be measured: "
            "evaluate on other images, or leave attack out of evaluate.tasks"
        )


def _counted(pairs: Source, names: Sequence[str]) -> Callable[[], np.ndarray]:
    """Counts once, when it is asked for, the captions that name each class, int [C]."""

    @functools.cache
    def counts() -> np.ndarray:
        found = each_named(pairs.captions, names)
        return np.array([len(found[name]) for name in names])

    return counts


def also_held_out(config: RunSettings, cache: IndexCache | None) -> list[HeldOut]:
    """Opens the sources of `evaluate.also`; args and errors as `held_out`."""
    found = []
    for name in config.evaluate.also:
        request = _request(config, name, cache)
        options = replace(
            request.options, split="test", image_column="", caption_column="", label_column=""
        )
        alone = replace(request, options=options, part=(0.0, 1.0), prompts="", learn="")
        found.append(open_held_out(alone))
    return found


def _request(config: RunSettings, source: str, cache: IndexCache | None) -> Request:
    evaluate = config.evaluate
    templates = evaluate.prompts in PROMPTS
    if not templates and not evaluate.prompts.endswith(".json"):
        raise unknown("evaluate.prompts", evaluate.prompts, (*PROMPTS, "FILE.json"))
    return Request(
        source,
        _options(config, {"split": evaluate.split}, evaluate.pairs, cache),
        evaluate.part,
        "" if templates else evaluate.prompts,
        evaluate.learn,
        config.data.wordnet,
    )


def _options(
    config: RunSettings, changes: dict[str, Any], count: int, cache: IndexCache | None
) -> SourceOptions:
    """Options of a source: those of `data`, with changes."""
    data = config.data
    return SourceOptions(
        **{name: changes.get(name, getattr(data, name)) for name in OF_A_SOURCE},
        count=count,
        seed=config.data_seed,
        size=config.model.image_size,
        cache=cache,
    )


def _one(config: RunSettings, changes: dict[str, Any], cache: IndexCache | None) -> Source:
    """Opens one source of training pairs: its part, and of that the pairs asked for."""
    unknown_keys = changes.keys() - {"source", "pairs", "part", *OF_A_SOURCE}
    if unknown_keys:
        raise unknown("key of data.mix", min(unknown_keys), ("weight", "source", *OF_A_SOURCE))
    source, pairs, share = (
        changes.get(name, getattr(config.data, name)) for name in ("source", "pairs", "part")
    )
    return open_part(source, _options(config, changes, pairs, cache), share)


def _captions_of_classes(pairs: Source, names: list[str]) -> list[list[str]]:
    """Training captions of each class, a fixed choice of at most so many."""
    if pairs.labels is None:
        raise UserError("evaluate.prompts=captions needs training pairs with labels")
    prompts = []
    templates = Wording()
    for name in names:
        known = name in pairs.class_names
        number = list(pairs.class_names).index(name) if known else -1
        members = np.flatnonzero(pairs.labels == number)
        chosen = np.random.default_rng(number + 1).permutation(members)[:_CAPTIONS_A_CLASS]
        captions = [pairs.captions[int(i)] for i in np.sort(chosen)]
        prompts.append(captions or templates.texts([name])[0])
    return prompts
