"""Memory and time of the CLIP loss and its gradient, in chunks and at once, on one device.

    python -m benchmarks.chunked_loss

Each form runs in a process of its own; `extra` is the process' peak memory above that of its
inputs. Times are medians, a pair of embeddings each, so that batches compare.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

from benchmarks import markdown

WIDTH = 512
CASES = ((4096, 0), (4096, 1024), (32_768, 256), (32_768, 1024), (32_768, 2048))


def measure(batch: int, chunk: int, repeats: int) -> dict:
    """Runs one form in this process."""
    import jax
    import numpy as np

    from safeclip_jax.distributed import sharding
    from safeclip_jax.objectives import losses
    from safeclip_jax.objectives.chunked import Chunks

    chunks = Chunks(chunk, sharding.make_mesh()) if chunk else None
    rng = np.random.default_rng(0)
    images, texts = (rng.normal(size=(batch, WIDTH)).astype(np.float32) for _ in range(2))
    images, texts = (
        jax.device_put(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (images, texts)
    )
    loss = jax.value_and_grad(
        lambda a, b, scale: losses.clip_loss(a, b, scale, chunks), argnums=(0, 1, 2)
    )
    compiled = jax.jit(loss).lower(images, texts, np.float32(20)).compile()
    before, seconds = _peak(), []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(images, texts, np.float32(20)))
        seconds.append(time.perf_counter() - start)
    return {
        "batch": batch,
        "chunk": chunk or "all at once",
        "extra_MiB": round(_peak() - before),
        "compiler_MiB": round(compiled.memory_analysis().temp_size_in_bytes / 2**20),
        "seconds": round(statistics.median(seconds), 3),
        "ns_a_similarity": round(1e9 * statistics.median(seconds) / batch**2, 2),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", type=int, nargs=2, metavar=("BATCH", "CHUNK"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.repeats)))
        return
    rows = []
    for batch, chunk in CASES:
        command = [sys.executable, "-m", "benchmarks.chunked_loss", "--one", str(batch), str(chunk)]
        command += ["--repeats", str(arguments.repeats)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append(json.loads(printed.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    print(f"\n{markdown.table(rows)}")


if __name__ == "__main__":
    main()
