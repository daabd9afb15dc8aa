"""What an objective looks at, what it keeps between steps, and its loss of the embeddings.

A step embeds an objective's views and takes the loss of them. The two are apart so that a
large batch can be embedded in parts and still have one global loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax

from safeclip_jax.data.augment_image import ImageAugmentation, augment, centre_square, pixels
from safeclip_jax.objectives.chunked import Chunks

Batch = dict[str, jax.Array]
Embedded = tuple[jax.Array, jax.Array]  # of images and captions, [B, D] each
State = dict[str, Any]  # what objectives keep between steps, by name


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
    """What objectives depend on beside their inputs.

    Attributes:
      augmentation: of image views.
      bank_size: past embeddings in a bank, a multiple of the batch.
      chunks: how to cut the similarities of a large batch; None for all at once.
      image_size: S, of the views; needed only where they are cut from whole pictures.
    """

    augmentation: ImageAugmentation
    bank_size: int = 0
    chunks: Chunks | None = None
    image_size: int = 0


@dataclass(frozen=True)
class Objective:
    """One way to train. A subclass says what it is called, and its loss.

    Attributes:
      name: shown in the plan of a run.
      views: number of views of a pair.
      fixed: how many of them, the first ones, pass no gradient on.
      anchored: whether the loss is also given the first view as the model saw it that training
        began with: behind all views, without a gradient.
      plain: whether the first view is of the pair as it is, unless the stage augments.
    """

    name: ClassVar[str]
    views: ClassVar[int] = 1
    fixed: ClassVar[int] = 0
    anchored: ClassVar[bool] = False
    plain: ClassVar[bool] = True

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        """The loss in nats, a scalar, and the new state.

        Args:
          views: embeddings of each.
          scale: logit scale.
          state: what `initial` made, or the step before returned.
          settings: of the run.
        """
        raise NotImplementedError

    def initial(self, key: jax.Array, batch: int, width: int, settings: Settings) -> State:
        """What it keeps between steps, before the first; nothing by default.

        Arrays whose name ends in `_bank` lie over the devices as `Chunks.split_banks` says; all
        others are whole on every device.

        Args:
          key: of the run, of which the model's arrays derive, too.
          batch: pairs in a global batch.
          width: D of the embeddings.
          settings: of the run.
        """
        return {}

    def caption_views(self, augmented: bool) -> tuple[bool, ...]:
        """For each caption view that a step takes of a pair, whether it is augmented."""
        return tuple(augmented or not self.plain or bool(view) for view in range(self.views))

    def views_of(
        self, batch: Batch, keys: jax.Array, augmented: bool, settings: Settings
    ) -> list[View]:
        """Makes the views.

        Args:
          batch: `image` uint8 [B, S, S, 3] and `tokens` int32 [B, views, L]; with `aspect`,
            float32 [B], the images are whole pictures of another side, see `Loader`.
          keys: one a pair, [B].
          augmented: whether the stage augments.
          settings: of the run.
        """
        images, made, strength = pixels(batch["image"]), [], settings.augmentation
        size, aspect = settings.image_size or images.shape[1], batch.get("aspect")
        plain = images if aspect is None else centre_square(images, aspect, size)
        for view, changed in enumerate(self.caption_views(augmented)):
            key = keys if self.views == 1 else _key_of_view(keys, view)
            seen = augment(images, key, strength, size, aspect) if changed else plain
            made.append(View(seen, batch["tokens"][:, view]))
        return made


def _key_of_view(keys: jax.Array, view: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, view))(keys)
