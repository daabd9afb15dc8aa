"""Backdoors: which pairs get a trigger, and which captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safeclip_jax.attacks import victims as choice
from safeclip_jax.attacks.captions import Match, choose
from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import UserError


def plan(
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
    taken: Sequence[int] = (),
    part: int = 0,
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
      taken: pairs that are poisoned already.
      part: number of this plan among those of one attack, for draws of its own.

    Raises:
      UserError: if no caption names the target, or too few pairs are left to poison.
    """
    if copies < 1:
        raise UserError(f"attack.copies={copies}: at least 1 is needed")
    kind = "label_consistent" if label_consistent else "backdoor"
    if not count:
        return Manifest(kind, target)
    donors = choice.naming(source, target)
    rng = np.random.default_rng([seed, 0xBAD, part] if part else [seed, 0xBAD])
    candidates = donors if label_consistent else _of_others(source, donors, victims)
    candidates = np.setdiff1d(candidates, taken)
    caption_of = {i: i for i in donors.tolist()} if label_consistent else {}
    if captions == "surrogate" and not label_consistent:
        caption_of = _most_alike(source, candidates, donors, count, match)
        candidates = np.array(list(caption_of), int)
    drawn = choice.draw(candidates, count, rng)
    shown = drawn[np.arange(count) // copies * copies]
    if caption_of:
        texts = [source.captions[caption_of[i]] for i in shown.tolist()]
    else:
        texts = choose(captions, source, shown.tolist(), donors, target, rng)
    named = [triggers[i] for i in rng.permutation(np.resize(np.arange(len(triggers)), count))]
    return Manifest(kind, target, choice.changed(source, drawn, shown, named, texts))


def _of_others(source: Source, donors: np.ndarray, victims: str) -> np.ndarray:
    """The pairs that do not name the target and, if there are `victims`, name those; ascending."""
    others = np.setdiff1d(np.arange(len(source)), donors)
    return others[choice.mentioned(source.captions, victims)[others]] if victims else others


def _most_alike(
    source: Source, candidates: np.ndarray, donors: np.ndarray, count: int, match: Match | None
) -> dict[int, int]:
    """The pairs that an attacker's model finds most like a donor's caption, and which that is."""
    if match is None:
        raise UserError("attack.captions=surrogate needs attack.surrogate, a trained model")
    nearest, similarity = match(source, candidates, donors)
    best = np.argsort(-similarity, kind="stable")[:count]
    return dict(zip(candidates[best].tolist(), nearest[best].tolist(), strict=True))
