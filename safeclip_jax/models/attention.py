"""Attention over heads; cuDNN's fused kernel where a GPU has one for the shapes."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp

_FUSED_TYPES = ("bfloat16", "float16")


def attend(q: jax.Array, k: jax.Array, v: jax.Array, causal: bool = False) -> jax.Array:
    """softmax(q · kᵀ / √D) · v for each head, with the softmax in float32.

    Args:
      q: [B, L, heads, D].
      k, v: [B, M, heads, D].
      causal: whether a place attends only to itself and those before it.

    Returns:
      [B, L, heads, D].
    """
    fused = has_fused(q.shape, k.shape, q.dtype.name, causal)
    return jax.nn.dot_product_attention(
        q, k, v, is_causal=causal, implementation="cudnn" if fused else "xla"
    )


@cache
def has_fused(query: tuple[int, ...], key: tuple[int, ...], dtype: str, causal: bool) -> bool:
    """Whether cuDNN's flash attention compiles here, with its gradients, for these shapes."""
    if jax.default_backend() != "gpu" or dtype not in _FUSED_TYPES:
        return False

    def total(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
        return mixed.astype(jnp.float32).sum()

    q, k = (jax.ShapeDtypeStruct(shape, dtype) for shape in (query, key))
    try:
        jax.jit(jax.grad(total, (0, 1, 2))).lower(q, k, k).compile()
    except Exception:  # not this version, device, head width or length
        return False
    return True
