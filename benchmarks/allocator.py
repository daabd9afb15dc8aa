"""What does keeping freed memory save? Forward passes of the demo with and without it.

    python -m benchmarks.allocator

Alternates processes of the two kinds; prints the seconds of each to embed 12,000 scenes
and the ratio of the medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

ROUNDS = 3


def measure(keep: bool) -> float:
    """Seconds of one pass, after one that compiles."""
    import jax
    import numpy as np

    import safeclip_jax
    from safeclip_jax.distributed import sharding
    from safeclip_jax.runs import settings
    from safeclip_jax.system import cpu
    from safeclip_jax.training.experiment import build

    if keep:
        cpu.keep_freed_memory()
    run = settings.of(safeclip_jax.config("demo"))
    x = build(run)
    state = x.steps.init(run.batch_size)
    size = run.score_batch
    host = list(x.loader.scoring_batches(np.arange(len(x.source)), size))
    batches = [sharding.to_devices(batch, x.mesh) for batch in host]
    for _ in range(2):
        start = time.perf_counter()
        scores = [x.steps.score(run.pair_score, state.variables, batch) for batch in batches]
        jax.block_until_ready(scores)
    return time.perf_counter() - start


def main() -> None:
    if len(sys.argv) > 1:
        print(measure(sys.argv[1] == "keep"))
        return
    seconds: dict[str, list[float]] = {"keep": [], "default": []}
    for _ in range(ROUNDS):
        for kind, times in seconds.items():
            command = [sys.executable, "-m", "benchmarks.allocator", kind]
            times.append(float(subprocess.check_output(command).split()[-1]))
    ratio = statistics.median(seconds["default"]) / statistics.median(seconds["keep"])
    print(json.dumps({**seconds, "default_over_keep": round(ratio, 3)}))


if __name__ == "__main__":
    main()
