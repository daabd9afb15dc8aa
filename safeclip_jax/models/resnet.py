"""The image tower of CLIP's ResNets (Radford et al., 2021, section 2.4).

A stem of three convolutions, average pooling before every stride ("anti-aliased"), and
attention pooling in place of the global mean. Batch norms take their statistics over the
global batch: under `jit` the mean over the batch axis is one over all devices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from safeclip_jax.errors import UserError
from safeclip_jax.models.attention import attend
from safeclip_jax.models.convolution import Conv3
from safeclip_jax.models.linear import Linear, into_heads
from safeclip_jax.models.remat import again

_EXPANSION = 4


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of the image tower, a `tower.ImageTower`.

    Attributes:
      image_size: side of the input in pixels, a multiple of 32.
      blocks: bottlenecks in each of the four stages.
      width: channels of the stem; the features have 32 times as many.
      heads: of the attention pooling.
    """

    image_size: int = 224
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    heads: int = 32

    projection_bias = True  # it is the output of the attention pooling

    @property
    def stride(self) -> int:
        return 32

    @property
    def features(self) -> int:
        return self.width * 8 * _EXPANSION

    @property
    def depths(self) -> tuple[int, ...]:
        return self.blocks

    def fitted(
        self, image_size: int, activation: str | None = None, pool: str | None = None
    ) -> ResNetConfig:
        if pool:
            raise UserError(f"model.pool={pool!r}: a ResNet has attention pooling; leave it empty")
        return replace(self, image_size=image_size)

    def build(self, dtype: jnp.dtype, remat: str, scan: bool) -> ResNet:
        return ResNet(self, dtype, remat)


def _pointwise(features: int, inputs: int, dtype: jnp.dtype, name: str) -> Linear:
    """A 1×1 convolution as the matrix product that it is.

    XLA's convolution takes up to three times as long on a CPU (`benchmarks/convolutions.py`).
    """
    shape, he_normal = (1, 1, inputs, features), nn.initializers.he_normal()
    return Linear(features, dtype, shape, use_bias=False, kernel_init=he_normal, name=name)


def _stem(width: int) -> list[tuple[int, int]]:
    """Channels and stride of each convolution."""
    return [(width // 2, 2), (width // 2, 1), (width, 1)]


def _mean_pool(x: jax.Array, size: int) -> jax.Array:
    return nn.avg_pool(x, (size, size), (size, size)) if size > 1 else x


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut, [B, H, W, C] to [B, H/s, W/s, 4F].

    Attributes:
      features: F.
      stride: s.
      train: whether the norms use the batch's statistics.
      dtype: of the computation.
    """

    features: int
    stride: int
    train: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = partial(batch_norm, train=self.train, dtype=self.dtype)
        wide = self.features * _EXPANSION
        y = _pointwise(self.features, x.shape[-1], self.dtype, "conv_1")(x)
        y = nn.relu(norm("norm_1")(y))
        y = nn.relu(norm("norm_2")(Conv3(self.features, self.dtype, name="conv_2")(y)))
        y = _pointwise(wide, self.features, self.dtype, "conv_3")(_mean_pool(y, self.stride))
        y = norm("norm_3", scale_init=nn.initializers.zeros)(y)
        if self.stride > 1 or x.shape[-1] != wide:
            x = _mean_pool(x, self.stride)
            x = _pointwise(wide, x.shape[-1], self.dtype, "conv_shortcut")(x)
            x = norm("norm_shortcut")(x)
        return nn.relu(x + y)


class AttentionPool(nn.Module):
    """The mean of all places attends to them: [B, H, W, C] to [B, C], before the projection."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        small = nn.initializers.normal(width**-0.5)
        x = x.reshape(len(x), -1, width)
        x = jnp.concatenate([x.mean(axis=1, keepdims=True), x], axis=1)
        x = (x + self.param("positions", small, x.shape[1:])).astype(self.dtype)
        q, k, v = (
            into_heads(y, self.heads, self.dtype, name, small)
            for name, y in (("q", x[:, :1]), ("k", x), ("v", x))
        )
        return attend(q, k, v).reshape(len(x), width)


class ResNet(nn.Module):
    """Images float [B, S, S, 3] to features [B, 32 · width]."""

    config: ResNetConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """With `train`, norms use the batch's statistics and update `batch_stats`."""
        c = self.config
        x = images.astype(self.dtype)
        for i, (features, stride) in enumerate(_stem(c.width), 1):
            x = Conv3(features, self.dtype, stride, name=f"stem_{i}")(x)
            x = nn.relu(batch_norm(f"stem_norm_{i}", train=train, dtype=self.dtype)(x))
        x = _mean_pool(x, 2)
        block = again(Bottleneck, self.remat)
        for stage, count in enumerate(c.blocks):
            for i in range(count):
                stride = 2 if stage and not i else 1
                name = f"stage_{stage + 1}_block_{i}"
                x = block(c.width * 2**stage, stride, train, self.dtype, name=name)(x)
        return AttentionPool(c.heads, self.dtype, name="pool")(x)


def batch_norm(
    name: str,
    *,
    train: bool,
    dtype: jnp.dtype,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> nn.BatchNorm:
    """Statistics in float32; the running ones move by 10 % a step, as PyTorch's do."""
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        scale_init=scale_init,
        name=name,
    )
