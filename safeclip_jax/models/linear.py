"""Linear maps in the computation's type, with unrounded gradients of their float32 parameters.

A bfloat16 product rounds its result: a weight's gradient, a sum over thousands of rows, keeps
eight bits of it, and the sum over rows that is a bias' gradient stops growing at a few hundred.
Here whatever belongs to a parameter is accumulated and kept in float32.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.layout import Layout, with_layout_constraint

from safeclip_jax.models.remat import PRODUCT

Saved = tuple[jax.Array, jax.Array, jax.Array | None]

_LECUN_NORMAL = nn.initializers.lecun_normal()
_ROW_MAJOR = Layout(major_to_minor=(0, 1))


class Linear(nn.Module):
    """x W + b as one matrix product, [..., N] to [..., M].

    Attributes:
      features: M.
      dtype: of the computation and the result; W and b are float32.
      kernel_shape: in which W is kept, N · M elements; empty for [N, M].
      bias_shape: in which b is kept; empty for [M].
      use_bias: whether there is a b.
      kernel_init: of W as [N, M].
    """

    features: int
    dtype: jnp.dtype
    kernel_shape: tuple[int, ...] = ()
    bias_shape: tuple[int, ...] = ()
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = _LECUN_NORMAL

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-1], self.features

        def init(key: jax.Array) -> jax.Array:
            return self.kernel_init(key, shape).reshape(self.kernel_shape or shape)

        kernel, bias = self.param("kernel", init).reshape(shape), None
        if self.use_bias:
            bias_shape = self.bias_shape or (self.features,)
            bias = self.param("bias", nn.initializers.zeros, bias_shape).reshape(-1)
        rows = affine(x.reshape(-1, shape[0]).astype(self.dtype), kernel, bias)
        rows = checkpoint_name(rows, PRODUCT)
        return rows.reshape(*x.shape[:-1], self.features)


def into_heads(
    x: jax.Array,
    heads: int,
    dtype: jnp.dtype,
    name: str,
    kernel_init: nn.initializers.Initializer = _LECUN_NORMAL,
) -> jax.Array:
    """A `Linear` of the calling module, [..., W] to [..., heads, W / heads]."""
    width = x.shape[-1]
    by_head = heads, width // heads
    linear = Linear(width, dtype, (width, *by_head), by_head, kernel_init=kernel_init, name=name)
    return linear(x).reshape(*x.shape[:-1], *by_head)


@jax.custom_vjp
def affine(rows: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """rows · kernel + bias, in the rows' type.

    Args:
      rows: [n, N].
      kernel: float32 [N, M]. bias: float32 [M], or None. Their gradients are float32 sums of
        products of `rows.dtype`.

    Returns:
      [n, M] of `rows.dtype`.
    """
    # On a CPU the matrix units for bfloat16 are reached by products with a float32 result only.
    result = jnp.float32 if jax.default_backend() == "cpu" else rows.dtype
    product = _dot(rows, kernel.astype(rows.dtype), (1, 0), result)
    if bias is not None:
        product += bias.astype(result)
    return product.astype(rows.dtype)


def _forward(rows: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, Saved]:
    return affine(rows, kernel, bias), (rows, kernel, bias)


def _backward(saved: Saved, gradient: jax.Array) -> tuple[jax.Array | None, ...]:
    rows, kernel, bias = saved
    of_rows = _dot(gradient, kernel.astype(rows.dtype), (1, 1), jnp.float32).astype(rows.dtype)
    of_kernel = _dot(rows, gradient, (0, 0), jnp.float32)
    if jax.default_backend() == "cpu":
        of_kernel = with_layout_constraint(of_kernel, _ROW_MAJOR)
    of_bias = None if bias is None else gradient.astype(jnp.float32).sum(axis=0)
    return of_rows, of_kernel, of_bias


affine.defvjp(_forward, _backward)


def _dot(a: jax.Array, b: jax.Array, axes: tuple[int, int], result: jnp.dtype) -> jax.Array:
    contracted = ((axes[0],), (axes[1],)), ((), ())
    return jax.lax.dot_general(a, b, contracted, preferred_element_type=result)
