"""Does a long run leak? Memory, threads, open files and child processes of half an hour.

    python -m tests.drills.soak --minutes 30

A small run whose epochs take seconds, with pools, evaluation and a checkpoint in each, watched from
outside. Memory is what belongs to the process alone, in RAM or swapped out: pages of program files
come and go as the system likes. A leak raises the floor, so what counts is the slope, over the last
two thirds, of the least values of neighbouring samples: something grows if that is more than twice
its standard error above zero, and more than 1 % an hour. Prints JSON lines, then a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import linregress

from benchmarks import markdown
from safeclip_jax.training import metrics as run_metrics

FLAGS = (
    *("--config=demo", "--config.epochs=100000", "--config.model.preset=nano"),
    *("--config.batch_size=64", "--config.data.pairs=2000", "--config.evaluate.pairs=200"),
    *("--config.evaluate.every=1", "--config.unimodal.bank_size=128"),
    *("--config.score.batch_size=200", "--config.safeclip.warmup_epochs=1"),
)
EVERY = 5.0  # seconds between samples
BLOCKS = 30  # of neighbouring samples, which depend on each other; several epochs long each


def sample(pid: int) -> dict[str, float]:
    """What a process holds now."""
    root = Path(f"/proc/{pid}")
    status = dict(
        line.split(":", 1) for line in (root / "status").read_text().splitlines() if ":" in line
    )
    tasks = [p.read_text().split() for p in root.glob("task/*/children")]
    return {
        "MiB": sum(int(status[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024,
        "threads": int(status["Threads"]),
        "files": len(list((root / "fd").iterdir())),
        "children": sum(map(len, tasks)),
    }


def slope(hours: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Growth of the floor an hour over the last two thirds, and its standard error."""
    late = slice(len(values) // 3, None)
    blocks = min(BLOCKS, len(values[late]))
    x = [part.mean() for part in np.array_split(hours[late], blocks)]
    y = [part.min() for part in np.array_split(values[late], blocks)]
    fit = linregress(x, y)
    return float(fit.slope), float(fit.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "safeclip_jax.main", *FLAGS, f"--workdir={run}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        began, times, samples = time.monotonic(), [], []
        while time.monotonic() - began < 60 * minutes:
            time.sleep(EVERY)
            if process.poll() is not None:
                print(f"the run ended with status {process.returncode}")
                return 1
            times.append((time.monotonic() - began) / 3600)
            samples.append(sample(process.pid))
            if len(samples) % 24 == 0:
                print(json.dumps({"minutes": round(times[-1] * 60, 1), **samples[-1]}), flush=True)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=120)
        left = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True)
        epochs = run_metrics.read(run / "metrics.jsonl")[-1]["epoch"]
        partial = [p for p in run.rglob("*") if "partial" in p.name or "tmp" in p.name]
    rows, leaks = [], status != 143 or bool(left.stdout) or bool(partial)
    for name in samples[0]:
        values = np.array([s[name] for s in samples], float)
        growth, error = slope(np.array(times), values)
        late = values[len(values) // 3 :]
        grows = growth > 2 * error and growth > 0.01 * late.mean()
        leaks |= grows
        rows.append(
            {
                "of the process": name,
                "mean": round(float(late.mean()), 1),
                "least": round(float(late.min()), 1),
                "most": round(float(late.max()), 1),
                "growth an hour": f"{growth:.2f} ± {error:.2f}",
                "grows": "YES" if grows else "no",
            }
        )
    print(f"{epochs} epochs in {minutes:g} minutes, status {status}, ", end="")
    print(f"{len(left.stdout.split())} processes and {len(partial)} half-written files left")
    print(markdown.table(rows))
    return int(leaks)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
