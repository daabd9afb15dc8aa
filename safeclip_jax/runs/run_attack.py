"""The attack that a run's settings describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safeclip_jax.attacks import (
    backdoor,
    multi_target,
    natural,
    optimized_patch,
    semantic,
    surrogate,
    targeted,
    text_backdoor,
    triggers,
)
from safeclip_jax.attacks.attack import Attack
from safeclip_jax.attacks.captions import TEMPLATES, Match
from safeclip_jax.attacks.victims import poison_count
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_data
from safeclip_jax.runs.settings import Attack as AttackSettings
from safeclip_jax.runs.settings import RunSettings

# Which settings each kind looks at, beside rate, count, target and seed.
USED = {
    "backdoor": {"trigger", "captions", "surrogate", "victims", "copies"},
    "label_consistent": {"trigger", "surrogate", "copies"},
    "targeted": {"images", "captions", "surrogate"},
    "text_backdoor": {"phrase"},
    "semantic": {"attribute", "captions", "surrogate", "copies"},
    "natural": set(),
}


def planned(
    config: RunSettings,
    clean: ImageSource,
    cache: IndexCache | None,
    match: Match | None = None,
    folder: Path | None = None,
) -> tuple[HeldOut | None, Attack]:
    """The held-out images that a config names, and its attack on the clean pairs.

    Args:
      config: the run's.
      clean: the training pairs.
      cache: of indices, or None.
      match: the attacker's own model, see `backdoor.plan`.
      folder: of the run, which may keep an optimised patch; None for a run without one.

    Raises:
      UserError: if either cannot be used.
    """
    held_out = run_data.held_out(config, clean, cache)
    images = held_out.images if held_out else None
    before = Path(config.init_from) if config.init_from else None
    folders = [place for place in (folder, before) if place is not None]
    return held_out, create(config.attack, config.attack_seed, clean, images, match, folders)


def create(
    attack: AttackSettings,
    seed: int,
    clean: ImageSource,
    held_out: ImageSource | None,
    match: Match | None = None,
    folders: Sequence[Path] = (),
) -> Attack:
    """Plans the attack that a config describes.

    Args:
      attack: the section of a run's settings.
      seed: of every draw of the attack.
      clean: the training pairs.
      held_out: labelled images; targeted poisoning chooses among them.
      match: the attacker's own model, see `backdoor.plan`.
      folders: that may keep an optimised patch, see `optimized_patch.complete`.

    Raises:
      UserError: if a value cannot be used with this data.
    """
    count = poison_count(len(clean), attack.rate, attack.count)
    drawn: dict[str, Any] = {"count": count, "seed": seed}
    _refuse_unused(attack)
    if attack.kind == "targeted":
        return _targeted(attack, seed, clean, held_out, count)
    if attack.kind == "text_backdoor":
        return Attack(
            text_backdoor.plan(clean, target=attack.target, phrase=attack.phrase, **drawn)
        )
    if attack.kind == "natural":
        return Attack(natural.plan(clean, target=attack.target, **drawn))
    options = {"captions": attack.captions, "copies": attack.copies, "match": match, **drawn}
    if attack.kind == "semantic":
        return Attack(
            semantic.plan(clean, attribute=attack.attribute, target=attack.target, **options)
        )
    made = triggers.named(attack.trigger, attack.parameters(), seed)
    of_patch = attack.targets.get("badclip", attack.target)
    made = optimized_patch.complete(made, folders, attack.surrogate, clean, of_patch)
    options |= {"victims": attack.victims, "label_consistent": attack.kind == "label_consistent"}
    if attack.targets:
        return Attack(multi_target.plan(clean, attack.targets, **options), made)
    manifest = backdoor.plan(clean, target=attack.target, triggers=list(made), **options)
    return Attack(manifest, made)


def _refuse_unused(attack: AttackSettings) -> None:
    """`UserError` for a setting that would change nothing."""
    for name in sorted(set().union(*USED.values()) - USED[attack.kind]):
        value = getattr(attack, name)
        if value != getattr(AttackSettings, name):
            kinds = ", ".join(kind for kind, used in USED.items() if name in used)
            raise UserError(
                f"attack.{name}={value!r} changes nothing with attack.kind={attack.kind}: leave it "
                f"out, or choose a kind that looks at it ({kinds})"
            )
    if attack.captions == "background" and attack.kind != "targeted":
        raise UserError("attack.captions='background' is for attack.kind=targeted")


def _targeted(
    attack: AttackSettings,
    seed: int,
    clean: Source,
    held_out: ImageSource | None,
    count: int,
) -> Attack:
    if held_out is None:
        raise UserError("attack.kind=targeted chooses among held-out images: set evaluate.source")
    if attack.captions not in ("data", "templates", "background"):
        raise UserError(f"attack.captions={attack.captions!r} is for triggers, not for targeted")
    manifest = targeted.plan(
        clean,
        held_out,
        images=attack.images,
        count=count,
        seed=seed,
        target=attack.target,
        templates=TEMPLATES if attack.captions == "templates" else (),
        encoder=surrogate.encoder(attack.surrogate) if attack.captions == "background" else None,
    )
    chosen = {image.key: held_out.image(image.index) for image in manifest.chosen}
    return Attack(manifest, chosen=chosen)
