"""What CLIP asks of an image tower: `vit` and `resnet` are the ones there are."""

from __future__ import annotations

from typing import Protocol, Self

import flax.linen as nn
import jax.numpy as jnp


class ImageTower(Protocol):
    """Shape of an image tower: a frozen dataclass of hashable values.

    Attributes:
      image_size: side of the input in pixels.
      stride: pixels a side for each place of the last feature map; divides `image_size`.
      features: that it returns.
      depths: blocks in each of its stages.
      projection_bias: whether the projection of its features has one.
    """

    @property
    def image_size(self) -> int: ...

    @property
    def stride(self) -> int: ...

    @property
    def features(self) -> int: ...

    @property
    def depths(self) -> tuple[int, ...]: ...

    @property
    def projection_bias(self) -> bool: ...

    def fitted(
        self, image_size: int, activation: str | None = None, pool: str | None = None
    ) -> Self:
        """The same for images of another size.

        Args:
          image_size: side in pixels, a multiple of `stride`.
          activation, pool: in place of the tower's own, where it can have others.

        Raises:
          UserError: if it cannot pool in this way.
        """
        ...

    def build(self, dtype: jnp.dtype, remat: str, scan: bool) -> nn.Module:
        """The tower: images float [B, S, S, 3], normalised, to features [B, F].

        Args:
          dtype: of the computation.
          remat: what the backward pass computes again, see `remat.again`.
          scan: whether equal blocks compile once.
        """
        ...
