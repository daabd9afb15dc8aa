"""Bytes that each device sends in a train step, read from the compiled program.

    python -m benchmarks.collectives

Compiles steps for CPU devices (nothing runs) and adds up the collectives of the program, those
inside loops as often as the loop runs, as a ring would send them. Beside it stands what
docs/scaling.md expects: parameters once (all-reduce: twice) and a few embeddings a pair.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

from benchmarks import markdown

BYTES = {"f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8, "pred": 1, "u8": 1}
COLLECTIVE = re.compile(
    r"= (?P<shape>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)
WHILE = re.compile(r"while\(.*?body=%?([\w.\-]+).*?known_trip_count[^\d]*(\d+)")
CALLED = re.compile(r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")


class Case(NamedTuple):
    """One compiled step."""

    preset: str
    objective: str
    devices: int
    fsdp: int
    batch: int
    chunk: int


CASES = (
    *(Case("nano", "clip", 8, 1, batch, 0) for batch in (512, 1024, 2048, 4096)),
    *(Case("nano", "clip", 8, 1, batch, 256) for batch in (512, 1024, 2048, 4096)),
    *(Case("nano", "clip", devices, 1, 1024, 256) for devices in (2, 4)),
    Case("nano", "unimodal", 8, 1, 1024, 256),
    Case("tiny", "clip", 8, 1, 1024, 256),
    Case("nano", "clip", 8, 8, 1024, 256),
)


def sent(program: str, devices: int) -> Counter[str]:
    """Bytes that a device sends in one run of a compiled program's text, by collective."""
    bodies: dict[str, list[str]] = {}
    name = entry = ""
    for line in program.splitlines():
        start = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if start:
            name = start.group(2)
            entry = name if start.group(1) else entry
            bodies[name] = []
        elif name:
            bodies[name].append(line)
    return _of(entry, bodies, devices)


def _of(name: str, bodies: dict[str, list[str]], devices: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for line in bodies.get(name, ()):
        found = COLLECTIVE.search(line)
        if found:
            total[found["kind"]] += round(_ring(found["kind"], _size(found["shape"]), devices))
            continue
        loop = WHILE.search(line)
        if loop:
            inner = _of(loop.group(1), bodies, devices)
            total.update({kind: int(loop.group(2)) * size for kind, size in inner.items()})
        for called in CALLED.findall(line):
            total.update(_of(called, bodies, devices))
    return total


def _size(shape: str) -> int:
    total = 0
    for kind, sides in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        count = 1
        for side in filter(None, sides.split(",")):
            count *= int(side)
        total += count * BYTES[kind]
    return total


def _ring(kind: str, output: int, devices: int) -> float:
    share = (devices - 1) / devices
    factor = {"all-reduce": 2 * share, "reduce-scatter": devices - 1, "collective-permute": 1}
    return output * factor.get(kind, share)


def measure(case: Case) -> dict:
    """Compiles the case's step and counts."""
    from safeclip_jax.data.augment_image import ImageAugmentation
    from safeclip_jax.distributed import sharding
    from safeclip_jax.models import clip
    from safeclip_jax.objectives import OBJECTIVES
    from safeclip_jax.objectives.chunked import Chunks
    from safeclip_jax.objectives.objective import Settings
    from safeclip_jax.training.state import adamw
    from safeclip_jax.training.steps import Steps

    config = clip.configure(case.preset, image_size=32, context=8, vocab_size=50, end_id=49)
    mesh = sharding.make_mesh(case.fsdp, jax.devices()[: case.devices])
    chunks = Chunks(case.chunk, mesh, True) if case.chunk else None
    settings = Settings(ImageAugmentation(), case.batch, chunks)
    objective = OBJECTIVES[case.objective]
    steps = Steps(clip.CLIP(config), adamw(0.9, 0.999, 0.1), settings, mesh, 0)
    state = steps.init(case.batch, objectives=[objective])
    kind = objective, not objective.plain
    by_kind = sent(steps.lower_train(kind, state, case.batch).compile().as_text(), case.devices)
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    share = (case.devices - 1) / case.devices
    return {
        **case._asdict(),
        "MB": round(sum(by_kind.values()) / 1e6, 3),
        "parameters_MB": round(2 * share * 4 * parameters / 1e6, 3),
        "embeddings_MB": round(share * 4 * case.batch * config.embedding / 1e6, 3),
        "by_kind_MB": {kind: round(size / 1e6, 3) for kind, size in sorted(by_kind.items())},
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    jax.config.update("jax_num_cpu_devices", 8)
    rows = []
    for case in CASES:
        rows.append(measure(case))
        print(json.dumps(rows[-1]), flush=True)
    for row in rows:
        del row["by_kind_MB"]
        rest = (row["MB"] - row["parameters_MB"]) / row["embeddings_MB"]
        row["the rest in embeddings"] = round(rest, 1)
    print(f"\n{markdown.table(rows)}")


if __name__ == "__main__":
    main()
