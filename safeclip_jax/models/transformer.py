"""The pre-norm transformer that both towers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from safeclip_jax.models.attention import attend
from safeclip_jax.models.linear import Linear, into_heads
from safeclip_jax.models.remat import POLICIES, again


def quick_gelu(x: jax.Array) -> jax.Array:
    """The sigmoid approximation of GELU that OpenAI's CLIP was trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "quick_gelu": quick_gelu,
}


def layer_norm(dtype: jnp.dtype, name: str | None = None) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


class Attention(nn.Module):
    """Multi-head self-attention, [B, L, W] to [B, L, W].

    Attributes:
      heads: divides W.
      causal: whether a token sees only itself and those before it.
      dtype: of the computation; parameters and the softmax stay float32.
    """

    heads: int
    causal: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        q, k, v = (into_heads(x, self.heads, self.dtype, name) for name in "qkv")
        mixed = attend(q, k, v, self.causal)
        kernel_shape = *q.shape[-2:], width
        return Linear(width, self.dtype, kernel_shape, name="out")(mixed.reshape(x.shape))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside a shortcut."""

    heads: int
    mlp_ratio: float
    causal: bool
    activation: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        hidden = int(width * self.mlp_ratio)
        y = layer_norm(self.dtype, "norm_attention")(x)
        x = x + Attention(self.heads, self.causal, self.dtype, name="attention")(y)
        y = layer_norm(self.dtype, "norm_mlp")(x)
        y = ACTIVATIONS[self.activation](Linear(hidden, self.dtype, name="mlp_in")(y))
        return x + Linear(width, self.dtype, name="mlp_out")(y)


class Transformer(nn.Module):
    """A stack of blocks, [B, L, W] to [B, L, W].

    Attributes:
      remat: what the backward pass computes again, see `remat.again`.
      scan: whether one compiled block runs `depth` times over the blocks' stacked parameters,
        which are the same either way.
    """

    depth: int
    heads: int
    mlp_ratio: float
    causal: bool
    activation: str
    dtype: jnp.dtype
    remat: str = "none"
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = self.heads, self.mlp_ratio, self.causal, self.activation, self.dtype
        if self.scan and not self.is_initializing():
            return self._scanned(Block(*shape, parent=None), x)
        block = again(Block, self.remat)
        for i in range(self.depth):
            x = block(*shape, name=f"block_{i}")(x)
        return x

    def _scanned(self, block: Block, x: jax.Array) -> jax.Array:
        params = [self.variables["params"][f"block_{i}"] for i in range(self.depth)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

        def one(x: Any, params: Any) -> tuple[Any, None]:
            return block.apply({"params": params}, x), None

        if self.remat != "none":
            one = jax.checkpoint(one, policy=POLICIES[self.remat])
        return jax.lax.scan(one, x, stacked)[0]
