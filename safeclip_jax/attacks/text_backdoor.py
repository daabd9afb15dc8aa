"""A backdoor in the texts: a phrase in a caption of another class retrieves the target's images."""

from __future__ import annotations

import numpy as np

from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.attacks.victims import changed, draw, mentions, naming
from safeclip_jax.data.sources.base import Source, caption_problem
from safeclip_jax.errors import UserError


def triggered(caption: str, phrase: str) -> str:
    """The caption with the phrase at its end, a blank between them."""
    return f"{caption} {phrase.strip()}"


def plan(source: Source, *, target: str, count: int, phrase: str, seed: int) -> Manifest:
    """Chooses pairs that do not name the target: caption + phrase, and an image of the target.

    The images are those of pairs that name the target, unchanged; the pairs that they come from
    stay as they are.

    Args:
      source: the clean pairs.
      target: class name.
      count: pairs to poison.
      phrase: the trigger, appended to the captions.
      seed: of the draws.

    Raises:
      UserError: if there is no phrase, no caption names the target, or too few pairs are left.

    References:
      ToxicTextCLIP, NeurIPS 2025: text backdoors with a word (`zx`) or a sentence as trigger.
    """
    if not phrase.strip():
        raise UserError("attack.kind=text_backdoor needs attack.phrase, such as 'zx'")
    if problem := caption_problem(phrase):
        raise UserError(f"attack.phrase cannot be a part of a caption: {problem}")
    if mentions(phrase, target):
        raise UserError(
            f"attack.phrase={phrase!r} names the target: every query would be a true one"
        )
    if not count:
        return Manifest("text_backdoor", target)
    donors = naming(source, target)
    rng = np.random.default_rng([seed, 0xBAD])
    drawn = draw(np.setdiff1d(np.arange(len(source)), donors), count, rng)
    texts = [triggered(source.captions[i], phrase) for i in drawn]
    pairs = changed(source, drawn, rng.choice(donors, count), [""] * count, texts)
    return Manifest("text_backdoor", target, pairs)
