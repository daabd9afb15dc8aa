"""3×3 convolutions; on a CPU as the matrix products of nine shifted pictures.

XLA's convolution and its gradients take twice as long there (`benchmarks/convolutions.py`).
"""

from __future__ import annotations

from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from safeclip_jax.models.remat import PRODUCT

_NHWC = ("NHWC", "HWIO", "NHWC")


class Conv3(nn.Module):
    """A 3×3 convolution, padded by 1, [B, H, W, C] to [B, H / stride, W / stride, features]."""

    features: int
    dtype: jnp.dtype
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = 3, 3, x.shape[-1], self.features
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        return checkpoint_name(self._convolved(x, kernel), PRODUCT)

    def _convolved(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if jax.default_backend() != "cpu":
            stride, padding = (self.stride, self.stride), ((1, 1), (1, 1))
            return jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_NHWC)
        if self.stride == 1:
            return sum_of_products(x, kernel)
        columns = jnp.concatenate(shifted(x, 1, self.stride), axis=-1)
        return columns @ kernel.reshape(-1, self.features)


def shifted(x: jax.Array, before: int, stride: int = 1) -> list[jax.Array]:
    """What each of the nine weights of a 3×3 kernel sees of [B, H, W, C], in the kernel's order.

    Args:
      x: pictures.
      before: zeros above and on the left; what is missing to H / stride rows comes below.
      stride: of the kernel.
    """
    height, width = x.shape[1:3]
    after = 2 - before
    x = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    return [
        x[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)
    ]


@jax.custom_vjp
def sum_of_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of stride 1 as a sum over the kernel's places.

    Keeps only x for the gradients: nine shifted copies would take nine times the memory.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, F].
    """
    places = kernel.reshape(9, *kernel.shape[2:])
    products = (
        jnp.dot(part, place, preferred_element_type=jnp.float32)
        for part, place in zip(shifted(x, 1), places, strict=True)
    )
    return reduce(jnp.add, products).astype(x.dtype)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return sum_of_products(x, kernel), (x, kernel)


def _backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    of_x = sum_of_products(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    rows = gradient.reshape(-1, gradient.shape[-1])
    of_places = [part.reshape(-1, x.shape[-1]).T @ rows for part in shifted(x, 1)]
    return of_x, jnp.stack(of_places).reshape(kernel.shape)


sum_of_products.defvjp(_forward, _backward)
