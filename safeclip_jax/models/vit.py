"""The image tower: a vision transformer as in CLIP (Radford et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp

from safeclip_jax.errors import unknown
from safeclip_jax.models.convolution import shifted
from safeclip_jax.models.linear import Linear
from safeclip_jax.models.transformer import Transformer, layer_norm

POOLS = ("class_token", "mean")


@dataclass(frozen=True)
class ViTConfig:
    """Shape of the image tower, a `tower.ImageTower`.

    Attributes:
      image_size: side of the input in pixels.
      patch: side of a patch in pixels; with a stem, the stem's total stride.
      width, depth, heads: of the transformer.
      stem: channels of stride-2 3×3 convolutions in place of the patch projection, for
        tiny images; empty for none. There must be log2(patch) of them.
      pool: `class_token` as in CLIP, or `mean` over the patches.
      mlp_ratio: hidden width of the perceptrons over the width.
      activation: a name in `transformer.ACTIVATIONS`.
    """

    image_size: int = 224
    patch: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    stem: tuple[int, ...] = ()
    pool: str = "class_token"
    mlp_ratio: float = 4.0
    activation: str = "gelu"

    projection_bias = False

    @property
    def stride(self) -> int:
        return self.patch

    @property
    def features(self) -> int:
        return self.width

    @property
    def depths(self) -> tuple[int, ...]:
        return (self.depth,)

    def fitted(
        self, image_size: int, activation: str | None = None, pool: str | None = None
    ) -> ViTConfig:
        pool = pool or self.pool
        if pool not in POOLS:
            raise unknown("model.pool", pool, POOLS)
        activation = activation or self.activation
        return replace(self, image_size=image_size, activation=activation, pool=pool)

    def build(self, dtype: jnp.dtype, remat: str, scan: bool) -> ViT:
        return ViT(self, dtype, remat, scan)


class StemConv(nn.Module):
    """A 3×3 convolution of stride 2, [B, S, S, C] to [B, S/2, S/2, features].

    Written as one matrix product over shifted slices: with the few channels of a stem,
    XLA's convolution takes two to three times as long on a CPU.
    """

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        columns = jnp.concatenate(shifted(x, 0, 2), axis=-1)
        return Linear(self.features, self.dtype, name="Dense_0")(columns)


class ViT(nn.Module):
    """Images float [B, S, S, 3] to features [B, width]."""

    config: ViTConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    scan: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train  # nothing here differs in training
        c = self.config
        x = images.astype(self.dtype)
        for i, channels in enumerate(c.stem):
            x = StemConv(channels, self.dtype, name=f"stem_{i}")(x)
            x = nn.relu(nn.GroupNorm(num_groups=8, dtype=self.dtype, name=f"stem_norm_{i}")(x))
        side = 1 if c.stem else c.patch
        kernel_shape = side, side, x.shape[-1], c.width
        x = _patches(x, side)
        x = Linear(c.width, self.dtype, kernel_shape, use_bias=False, name="patches")(x)
        small = nn.initializers.normal(c.width**-0.5)
        if c.pool == "class_token":
            token = self.param("class_token", small, (c.width,))
            token = jnp.broadcast_to(token, (len(x), 1, c.width))
            x = jnp.concatenate([token, x], axis=1)
        x = x + self.param("positions", small, x.shape[1:])
        x = layer_norm(self.dtype, "norm_in")(x)
        x = Transformer(
            c.depth,
            c.heads,
            c.mlp_ratio,
            False,
            c.activation,
            self.dtype,
            self.remat,
            self.scan,
            name="transformer",
        )(x)
        x = x[:, 0] if c.pool == "class_token" else x.mean(axis=1)
        return layer_norm(self.dtype, "norm_out")(x)


def _patches(images: jax.Array, side: int) -> jax.Array:
    """Cuts [B, S, S, C] into squares: [B, (S / side)², side · side · C]."""
    batch, size, _, channels = images.shape
    cut = images.reshape(batch, size // side, side, size // side, side, channels)
    return cut.swapaxes(2, 3).reshape(batch, -1, side * side * channels)
