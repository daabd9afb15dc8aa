"""Does a run depend on how it lies on the devices? Every layout against one device.

    python -m tests.drills.layouts

Trains the same 50 steps (unimodal, slow CLIP, safe and risky pools) on 1, 2, 4 and 8 CPU
devices and in two processes of two, with and without `mesh.fsdp`, chunked loss and
micro-batches. Prints JSON lines, then a Markdown table of differences to one plain device.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import markdown
from safeclip_jax.checkpoints import variables
from safeclip_jax.defenses import pool_files
from safeclip_jax.training import metrics as run_metrics
from tests.support import local_processes

RUN = """--config.model.preset=nano --config.data.pairs=800 --config.batch_size=64
--config.score.batch_size=128 --config.unimodal.bank_size=128 --config.epochs=5
--config.safeclip.warmup_epochs=2 --config.optimizer.learning_rate=1e-4
--config.evaluate.source= --config.attack.rate=0 --config.log_every=1 --config.max_steps=10"""


KEY_BIAS = "['k']['bias']"  # its gradient is rounding alone, which Adam scales up to the rate


class Layout(NamedTuple):
    """How a run lies on the devices."""

    processes: int
    devices: int
    fsdp: int
    chunk: int
    parts: int

    @property
    def flags(self) -> list[str]:
        split = self.chunk > 0
        return [
            f"--config.mesh.fsdp={self.fsdp}",
            f"--config.loss_chunk={self.chunk}",
            f"--config.unimodal.split_banks={split}",
            f"--config.micro_batches={self.parts}",
        ]


def layouts() -> list[Layout]:
    """One plain device first."""
    machines = [(1, 1), (1, 2), (1, 4), (1, 8), (2, 4)]
    every = itertools.product(machines, (1, 2), (0, 16), (1, 2))
    return [Layout(*machine, *rest) for machine, *rest in every if rest[0] <= machine[1]]


def run(layout: Layout, folder: Path) -> Path:
    """Trains and returns the run's folder."""
    name = "-".join(map(str, layout))
    command = [sys.executable, "-m", "safeclip_jax.main", "--config=demo"]
    command += [*RUN.split(), *layout.flags, f"--workdir={folder / name}"]
    started = [
        subprocess.Popen(
            command,
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in local_processes.environments(
            layout.processes, layout.devices // layout.processes
        )
    ]
    for process in started:
        error = process.communicate(timeout=900)[1]
        if process.returncode:
            raise SystemExit(f"{layout}: {error[-2000:]}")
    return folder / name


def differences(found: Path, expected: Path) -> dict:
    """Of losses, pools and final parameters."""
    a, b = (np.array(_losses(path)) for path in (found, expected))
    same = [_pool_digests(path) for path in (found, expected)]
    x, y = (variables.read_variables(path) for path in (found, expected))
    apart = jax.tree.leaves_with_path(jax.tree.map(lambda p, q: float(np.abs(p - q).max()), x, y))
    named = {jax.tree_util.keystr(path): value for path, value in apart}
    return {
        "steps": len(a),
        "loss": float(np.max(np.abs(a - b) / np.abs(b))),
        "pools_equal": same[0] == same[1],
        "parameters": max(v for name, v in named.items() if not name.endswith(KEY_BIAS)),
        "key_biases": max(v for name, v in named.items() if name.endswith(KEY_BIAS)),
    }


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in run_metrics.read(folder / "metrics.jsonl") if "loss" in line]


def _pool_digests(folder: Path) -> list[tuple[bytes, bytes]]:
    found = [pool_files.load(path) for path in sorted((folder / "pools").glob("*.npz"))]
    return [(pool.safe.tobytes(), pool.risky.tobytes()) for pool in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    workers = parser.parse_args().workers
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        every = layouts()
        folders = pool.map(lambda layout: run(layout, Path(folder)), every)
        first = next(folders)
        for layout, found in zip(every[1:], folders, strict=True):
            row = layout._asdict() | differences(found, first)
            rows.append(row)
            print(json.dumps(row), flush=True)
    for row in rows:
        row |= {name: f"{v:.1e}" for name, v in row.items() if isinstance(v, float)}
    print(f"\n{markdown.table(rows)}")


if __name__ == "__main__":
    main()
