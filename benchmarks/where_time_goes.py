"""Where the time of our train step on a CPU goes, by the kind of its operations.

    python -m benchmarks.where_time_goes --model=rn50

Traces steps of `benchmarks.train_step` with JAX's profiler and adds up the seconds that all
threads spend in each kind of operation of the compiled program.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from pathlib import Path

import jax

from benchmarks import train_step
from safeclip_jax.system import cpu

STEPS = 2
KINDS = (  # the first pattern that the name of an operation fits
    ("matrix products, with what is fused to them (YNN)", r"ynn_fusion"),
    ("matrix products, others", r"dot"),
    ("convolutions", r"conv"),
    ("optimiser: moments, weights, skipped steps", r".*select"),
    ("reductions: norms, softmax, losses", r".*reduce"),
    ("copies, transposes, padding", r".*(copy|transpose|pad|concatenate|slice|broadcast)"),
    ("other element-wise loops", r".*fusion"),
)


def seconds_by_kind(folder: Path) -> Counter[str]:
    """Thread-seconds in the operations of the newest trace in a folder."""
    (path,) = folder.rglob("*.xplane.pb")
    total: Counter[str] = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            if "XLA" not in line.name:
                continue
            for event in line.events:
                if "::" in event.name or "." not in event.name:
                    continue  # the executor itself and waits
                found = (kind for kind, pattern in KINDS if re.match(pattern, event.name))
                total[next(found, "others")] += event.duration_ns / 1e9
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_b32", choices=["vit_b32", "rn50"])
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    cpu.keep_freed_memory()
    step = train_step.ours(arguments.model, arguments.batch)
    step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                step()
        found = seconds_by_kind(Path(folder))
    print(f"| {arguments.model} | thread-seconds a step | share |\n|---|---|---|")
    for kind, spent in found.most_common():
        print(f"| {kind} | {spent / STEPS:.2f} | {spent / sum(found.values()):.0%} |")


if __name__ == "__main__":
    main()
