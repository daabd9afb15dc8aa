"""Several triggers, each towards a class of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safeclip_jax.attacks import backdoor
from safeclip_jax.attacks.manifest import Manifest, PoisonedPair
from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import UserError


def targets_of(triggers: Sequence[str], target: str) -> dict[str, str]:
    """The class of each trigger: the k-th of `target`, whose classes are joined by +.

    Empty where all have the same.

    Raises:
      UserError: if there are several classes, but more or fewer than triggers.
    """
    classes = target.split("+")
    if len(triggers) < 2 or len(classes) < 2 or "" in classes:
        return {}
    if len(classes) != len(triggers):
        raise UserError(
            f"attack.target={target!r} names {len(classes)} classes and attack.trigger "
            f"{len(triggers)} triggers: name one class for all, or one for each"
        )
    return dict(zip(triggers, classes, strict=True))


def plan(
    source: Source, targets: Mapping[str, str], *, count: int, seed: int, **options: Any
) -> Manifest:
    """One backdoor for each trigger, on pairs of its own; each has an equal share of the poisons.

    Args:
      source: the clean pairs.
      targets: class of each trigger, by its name.
      count: pairs to poison, of all triggers together.
      seed: of the draw.
      **options: of each backdoor, see `backdoor.plan`.

    Raises:
      UserError: as there.

    References:
      Huang et al., "Detecting Backdoor Samples in Contrastive Language Image Pretraining", 2025:
      several triggers towards several targets.
    """
    if 0 < count < len(targets):
        raise UserError(f"{count} poisons are too few for {len(targets)} triggers and targets")
    pairs: list[PoisonedPair] = []
    kind = "backdoor"
    for part, (trigger, target) in enumerate(targets.items()):
        planned = backdoor.plan(
            source,
            target=target,
            count=len(range(part, count, len(targets))),
            triggers=[trigger],
            seed=seed,
            taken=[pair.index for pair in pairs],
            part=part,
            **options,
        )
        kind = planned.kind
        pairs += planned.pairs
    in_order = tuple(sorted(pairs, key=lambda pair: pair.index))
    return Manifest(kind, "+".join(targets.values()), in_order, targets=dict(targets))
