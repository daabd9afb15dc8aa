"""The convolutions of a ResNet-50 with their gradients: XLA's against matrix products.

    python -m benchmarks.convolutions             # writes results/convolutions.json

Both ways take turns; a figure is the median of nine times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import markdown
from benchmarks.result_file import FOLDER, ResultFile, host
from safeclip_jax.models.convolution import sum_of_products

BATCH = 16
# Kernel, side of the picture, channels in and out.
SHAPES = (
    (1, 56, 64, 256),
    (1, 56, 256, 64),
    (1, 28, 512, 128),
    (1, 14, 256, 1024),
    (1, 7, 2048, 512),
    (3, 112, 32, 64),
    (3, 56, 64, 64),
    (3, 28, 128, 128),
    (3, 14, 256, 256),
    (3, 7, 512, 512),
)
REPEATS = 9


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    padding = [(len(kernel) // 2, len(kernel) // 2)] * 2
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel[0, 0] if len(kernel) == 1 else sum_of_products(x, kernel)


def compiled(
    function: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, kernel: jax.Array
) -> jax.stages.Compiled:
    """The sum of squares of what the function gives, and both gradients."""
    step = jax.value_and_grad(lambda x, k: jnp.sum(function(x, k) ** 2), argnums=(0, 1))
    return jax.jit(step).lower(x, kernel).compile()


def rows() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    for size, side, inputs, outputs in SHAPES:
        x = jnp.asarray(rng.normal(size=(BATCH, side, side, inputs)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(size, size, inputs, outputs)), jnp.float32)
        steps = [compiled(function, x, kernel) for function in (convolution, product)]
        times: list[list[float]] = [[], []]
        for _ in range(REPEATS + 1):
            for step, found in zip(steps, times, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(step(x, kernel))
                found.append(1e3 * (time.perf_counter() - start))
        theirs, ours = (float(np.median(found[1:])) for found in times)
        yield {
            "kernel": f"{size}×{size}",
            "side": side,
            "channels in": inputs,
            "channels out": outputs,
            "convolution, ms": round(theirs, 1),
            "products, ms": round(ours, 1),
            "ratio": round(theirs / ours, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.convolutions", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER / "convolutions.json")
    file = ResultFile(parser.parse_args().out)
    for row in rows():
        file.add(row | {"device": host()})
    print(markdown.table(file.rows))


if __name__ == "__main__":
    main()
