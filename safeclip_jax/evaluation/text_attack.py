"""How far a text backdoor succeeded: Hit@k of triggered queries among the held-out images."""

from __future__ import annotations

import numpy as np
from jax.sharding import Mesh

from safeclip_jax.attacks.text_backdoor import triggered
from safeclip_jax.attacks.victims import mentions
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.evaluation import retrieval
from safeclip_jax.evaluation.share import share
from safeclip_jax.evaluation.task import EmbedTexts, Metrics

CUTS = (1, 5)


def queries(source: HeldOut, target: int) -> list[str]:
    """The different captions of held-out images of other classes that do not name the target."""
    labels, captions = source.images.labels, source.images.captions
    assert labels is not None
    others = dict.fromkeys(captions[int(i)] for i in np.flatnonzero(labels != target))
    name = source.class_names[target]
    return [text for text in others if not mentions(text, name)]


def hits(
    images: np.ndarray,
    labels: np.ndarray,
    embed_texts: EmbedTexts,
    texts: list[str],
    phrase: str,
    target: int,
    mesh: Mesh,
) -> Metrics:
    """Hit@1 and Hit@5 of the queries with the phrase, and of the same without it.

    A hit is a query one of whose k most similar images, by cosine, is of the target class.

    Args:
      images: unit vectors [N, D].
      labels: class indices [N].
      embed_texts: texts to unit vectors.
      texts: queries of other classes.
      phrase: trigger at their ends.
      target: class index.
      mesh: of devices.

    Returns:
      `text_hit_at_k` and `text_base_hit_at_k`; nothing where there are no queries or no images
      of the target.

    References:
      ToxicTextCLIP, NeurIPS 2025: Hit@k of text backdoors.
    """
    if not texts or not (labels == target).any():
        return {}
    found, of_target = Metrics(), (labels == target).astype(int)
    asked = {"text_hit": [triggered(text, phrase) for text in texts], "text_base_hit": texts}
    for name, some in asked.items():
        group = np.ones(len(some), int)
        ranks = retrieval.ranks(embed_texts(some), images, group, of_target, mesh)
        found |= {f"{name}_at_{k}": share(ranks < k) for k in CUTS}
    return found
