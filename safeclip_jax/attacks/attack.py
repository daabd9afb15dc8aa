"""The attack of a config: its manifest and how it changes an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ml_collections import ConfigDict

from safeclip_jax.attacks import poison, triggers
from safeclip_jax.attacks.captions import CAPTIONS, TEMPLATES, Match
from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.errors import UserError, unknown
from safeclip_jax.runs import run_data


@dataclass(frozen=True)
class Attack:
    """What poisons the training pairs and what tests the model.

    Attributes:
      manifest: the poisons; without any for a clean run.
      triggers: by name; empty in targeted poisoning.
      chosen: images of targeted poisoning by key, uint8 [S, S, 3].
    """

    manifest: poison.Manifest
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    chosen: Mapping[str, np.ndarray] = field(default_factory=dict)

    def change(self, pair: poison.PoisonedPair, image: np.ndarray) -> np.ndarray:
        """The image of a poisoned pair, from that of the pair `origin`."""
        if pair.image:
            return self.chosen[pair.image]
        return self.triggers[pair.trigger](image, pair.origin)

    def poisoned(self, source: ImageSource) -> ImageSource:
        """The source with the manifest's pairs changed."""
        if not self.manifest.pairs:
            return source
        return poison.PoisonedSource(source, self.manifest, self.change)


def planned(
    config: ConfigDict, clean: ImageSource, cache: IndexCache | None, match: Match | None = None
) -> tuple[HeldOut | None, Attack]:
    """The held-out images that a config names, and its attack on the clean pairs.

    Args:
      config: the run's.
      clean: the training pairs.
      cache: of indices, or None.
      match: the attacker's own model, see `poison.plan_backdoor`.

    Raises:
      UserError: if either cannot be used.
    """
    held_out = run_data.held_out(config, clean, cache)
    seed = run_data.own_seed(config, config.attack.seed)
    images = held_out.images if held_out else None
    return held_out, create(config.attack, seed, clean, images, match)


def create(
    attack: ConfigDict,
    seed: int,
    clean: Source,
    held_out: ImageSource | None,
    match: Match | None = None,
) -> Attack:
    """Plans the attack that a config describes.

    Args:
      attack: the part `attack` of a config.
      seed: of every draw of the attack.
      clean: the training pairs.
      held_out: labelled images; targeted poisoning chooses among them.
      match: the attacker's own model, see `poison.plan_backdoor`.

    Raises:
      UserError: if a value cannot be used with this data.
    """
    if attack.kind not in poison.KINDS:
        raise unknown("attack.kind", attack.kind, poison.KINDS)
    if attack.captions not in CAPTIONS:
        raise unknown("attack.captions", attack.captions, CAPTIONS)
    count = poison.poison_count(len(clean), attack.rate, attack.count)
    if attack.kind == "targeted":
        return _targeted(attack, seed, clean, held_out, count)
    options = {name: attack[name].to_dict() for name in triggers.TRIGGERS}
    made = triggers.create(attack.trigger, options, seed)
    manifest = poison.plan_backdoor(
        clean,
        target=attack.target,
        count=count,
        triggers=list(made),
        seed=seed,
        label_consistent=attack.kind == "label_consistent",
        captions=attack.captions,
        victims=attack.victims,
        copies=attack.copies,
        match=match,
    )
    return Attack(manifest, made)


def _targeted(
    attack: ConfigDict,
    seed: int,
    clean: Source,
    held_out: ImageSource | None,
    count: int,
) -> Attack:
    if held_out is None:
        raise UserError("attack.kind=targeted chooses among held-out images: set evaluate.source")
    if attack.captions not in ("data", "templates"):
        raise UserError(f"attack.captions={attack.captions!r} is for triggers, not for targeted")
    manifest = poison.plan_targeted(
        clean,
        held_out,
        images=attack.images,
        count=count,
        seed=seed,
        target=attack.target,
        templates=TEMPLATES if attack.captions == "templates" else (),
    )
    chosen = {image.key: held_out.image(image.index) for image in manifest.chosen}
    return Attack(manifest, chosen=chosen)
