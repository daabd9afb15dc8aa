"""What each objective looks at, and its loss of the embeddings.

A step embeds an objective's views and takes the loss of them. The two are apart so that a
large batch can be embedded in parts and still have one global loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax

from safeclip_jax.data.augment_image import ImageAugmentation, augment
from safeclip_jax.inference.embedder import pixels
from safeclip_jax.objectives import losses
from safeclip_jax.objectives.chunked import Chunks

Batch = dict[str, jax.Array]
Embedded = tuple[jax.Array, jax.Array]  # of images and captions, [B, D] each


class Banks(NamedTuple):
    """Banks of past embeddings."""

    image: losses.Bank
    text: losses.Bank


class View(NamedTuple):
    """One view of each pair, to be embedded.

    Attributes:
      images: float [B, S, S, 3] in [0, 1].
      tokens: int32 [B, L].
    """

    images: jax.Array
    tokens: jax.Array


@dataclass(frozen=True)
class Settings:
    """What losses and views depend on beside their inputs.

    Attributes:
      augmentation: of image views.
      unimodal_weight: λ of the objective `clip_and_unimodal`.
      chunks: how to cut the similarities of a large batch; None for all at once.
    """

    augmentation: ImageAugmentation
    unimodal_weight: float = 1.0
    chunks: Chunks | None = None


LossAndBanks = tuple[jax.Array, Banks]
Loss = Callable[[Sequence[Embedded], jax.Array, Banks, Settings], LossAndBanks]


@dataclass(frozen=True)
class Objective:
    """One way to train.

    Attributes:
      loss: of the embedded views, the logit scale and the banks.
      views: number of views of a pair.
      fixed: how many of them, the first ones, pass no gradient on.
      plain: whether the first view is of the pair as it is, unless the stage augments.
    """

    loss: Loss
    views: int = 1
    fixed: int = 0
    plain: bool = True

    def caption_views(self, augmented: bool) -> tuple[bool, ...]:
        """For each caption view that a step takes of a pair, whether it is augmented."""
        return tuple(augmented or not self.plain or bool(view) for view in range(self.views))

    def views_of(
        self, batch: Batch, keys: jax.Array, augmented: bool, settings: Settings
    ) -> list[View]:
        """Makes the views.

        Args:
          batch: `image` uint8 [B, S, S, 3] and `tokens` int32 [B, views, L].
          keys: one a pair, [B].
          augmented: whether the stage augments.
          settings: of the objectives.
        """
        images, made = pixels(batch["image"]), []
        for view, changed in enumerate(self.caption_views(augmented)):
            key = keys if self.views == 1 else _key_of_view(keys, view)
            seen = augment(images, key, settings.augmentation) if changed else images
            made.append(View(seen, batch["tokens"][:, view]))
        return made


def _key_of_view(keys: jax.Array, view: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, view))(keys)


def _clip(
    views: Sequence[Embedded], scale: jax.Array, banks: Banks, settings: Settings
) -> LossAndBanks:
    ((image, text),) = views
    return losses.clip_loss(image, text, scale, settings.chunks), banks


def _bank_matched(
    views: Sequence[Embedded], scale: jax.Array, banks: Banks, settings: Settings
) -> LossAndBanks:
    ((image, text),) = views
    loss, bank = losses.bank_matched_loss(image, text, banks.text, scale, settings.chunks)
    return loss, banks._replace(text=bank)


def _clip_and_unimodal(
    views: Sequence[Embedded], scale: jax.Array, banks: Banks, settings: Settings
) -> LossAndBanks:
    (image, text), (image_view, text_view) = views
    weight, chunks = settings.unimodal_weight, settings.chunks
    loss = losses.clip_and_unimodal_loss(image, text, image_view, text_view, scale, weight, chunks)
    return loss, banks


def _unimodal(
    views: Sequence[Embedded], scale: jax.Array, banks: Banks, settings: Settings
) -> LossAndBanks:
    (image_a, text_a), (image_b, text_b) = views
    chunks = settings.chunks
    of_images, image = losses.unimodal_loss(image_a, image_b, banks.image, scale, chunks)
    of_texts, text = losses.unimodal_loss(text_a, text_b, banks.text, scale, chunks)
    return (of_images + of_texts) / 2, Banks(image, text)


OBJECTIVES = {
    "clip": Objective(_clip),
    "bank_matched": Objective(_bank_matched),
    "clip_and_unimodal": Objective(_clip_and_unimodal, views=2),
    "unimodal": Objective(_unimodal, views=2, fixed=1, plain=False),
}
