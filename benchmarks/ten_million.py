"""What does an epoch over ten million pairs cost before its first batch? Seconds and memory.

    python -m benchmarks.ten_million

A synthetic source of ten million pairs, pools of 85 % and 15 % of them, and the first
batch of both stages; the images are made up, the index arrays are the real thing.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence

import numpy as np

from safeclip_jax.data import tokenizer
from safeclip_jax.data.pipeline import ImageReader, Loader
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.pools import split

PAIRS, BATCH = 10_000_000, 512


class Numbered(Sequence):
    """So many strings, made when they are asked for."""

    def __len__(self) -> int:
        return PAIRS

    def __getitem__(self, index):
        return f"a picture with the number {index}"


class Synthetic(ImageSource):
    def image(self, index: int) -> np.ndarray:
        return np.full((32, 32, 3), index % 256, np.uint8)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    source = Synthetic(Columns(Numbered(), Numbered()))
    words = tokenizer.train(Scenes(200).captions, 400, 77)
    reader = ImageReader(source, 32, cache_bytes=0)
    loader = Loader(source.captions, reader, words, SkippedRecords(source, 0.1), 0, threads=2)
    scores = np.random.default_rng(0).normal(0.3, 0.1, PAIRS).astype(np.float32)
    before, start = peak_mib(), time.perf_counter()
    pools = split(scores, seed=0, share=0.85)
    fitted = time.perf_counter()
    for number, pairs in enumerate((pools.risky, pools.safe)):
        batch = next(loader.training_batches(pairs, BATCH, (7, number), (True,)))
        assert len(batch["index"]) == BATCH
    done = time.perf_counter()
    figures = {
        "pairs": PAIRS,
        "seconds_pools": round(fitted - start, 2),
        "seconds_first_batches": round(done - fitted, 2),
        "mib_before": round(before),
        "mib_peak": round(peak_mib()),
    }
    print(json.dumps(figures))
    print("\n| step | seconds |\n|---|---|")
    print(f"| mixture and pools | {figures['seconds_pools']} |")
    print(f"| orders and first batches of both stages | {figures['seconds_first_batches']} |")
    print(f"\npeak memory {figures['mib_peak']} MiB, {figures['mib_before']} of them before")


if __name__ == "__main__":
    main()
