"""A 1×1 convolution with its gradients: XLA's convolution against a matrix product.

python -m benchmarks.pointwise
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

BATCH = 16
SHAPES = ((56, 64, 256), (56, 256, 64), (28, 512, 128), (14, 256, 1024), (7, 2048, 512))  # RN50's


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel[None, None], (1, 1), "VALID", dimension_numbers=layout
    )


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def milliseconds(
    function: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, kernel: jax.Array
) -> float:
    run = jax.jit(jax.value_and_grad(lambda x, k: jnp.sum(function(x, k) ** 2), argnums=(0, 1)))
    jax.block_until_ready(run(x, kernel))
    times = []
    for _ in range(9):
        start = time.perf_counter()
        jax.block_until_ready(run(x, kernel))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    rng = np.random.default_rng(0)
    print("| side, channels in and out | convolution, ms | product, ms |\n|---|---|---|")
    for side, inputs, outputs in SHAPES:
        x = jnp.asarray(rng.normal(size=(BATCH, side, side, inputs)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(inputs, outputs)), jnp.float32)
        found = [milliseconds(f, x, kernel) for f in (convolution, product)]
        print(f"| {side}, {inputs}, {outputs} | {found[0]:.1f} | {found[1]:.1f} |")


if __name__ == "__main__":
    main()
