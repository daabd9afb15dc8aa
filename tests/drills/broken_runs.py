"""A small run with every stage in it, started, broken and compared with one that nothing befell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from safeclip_jax.checkpoints import variables
from safeclip_jax.models.clip import Variables
from safeclip_jax.training import metrics as run_metrics

SMALL = (
    *("--config=demo", "--config.epochs=5", "--config.model.preset=nano"),
    *("--config.batch_size=64", "--config.data.pairs=400", "--config.evaluate.pairs=64"),
    *("--config.evaluate.every=1", "--config.unimodal.bank_size=128"),
    *("--config.score.batch_size=128", "--config.safeclip.warmup_epochs=1"),
    *("--config.attack.rate=0.02", "--config.log_every=1", "--config.checkpoint_minutes=0"),
)
LIMIT = 300  # seconds that any one process may take


class Failed(Exception):
    """Something was lost; the message says what."""


class Runs:
    """Runs in one folder, and the reference among them.

    Args:
      folder: of all runs.

    Attributes:
      reference: the outcome of a run that nothing happened to.
      seconds: that it took.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")
        }  # fmt: skip
        self.whole(folder / "first")  # fills the compiler's cache
        began = time.monotonic()
        self.whole(folder / "reference")
        self.seconds = time.monotonic() - began
        self.reference = self.outcome(folder / "reference")

    def start(
        self, run: Path, *flags: str, patch: str = "", environment: dict | None = None
    ) -> subprocess.Popen:
        code = f"{patch}\nfrom safeclip_jax.commands import program, train"
        code += "\nprogram.run(train.main)"
        return subprocess.Popen(
            [sys.executable, "-c", code, *SMALL, f"--workdir={run}", *flags],
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ended(self, process: subprocess.Popen, *statuses: int) -> str:
        """Waits for a process, checks its exit status and returns what it printed."""
        try:
            output = process.communicate(timeout=LIMIT)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failed(f"it hung for {LIMIT} s") from None
        if process.returncode not in statuses:
            raise Failed(f"exit status {process.returncode}: {output[-600:]}")
        return output

    def whole(self, run: Path, *flags: str, **kwargs) -> str:
        return self.ended(self.start(run, *flags, **kwargs), 0)

    def outcome(self, run: Path) -> tuple[dict, dict, dict]:
        """Figures, metrics by step and final parameters of a finished run."""
        figures = {
            name: value
            for name, value in json.loads((run / "results.json").read_text()).items()
            if "second" not in name and "share_beyond" not in name
        }
        lines = [x for x in run_metrics.read(run / "metrics.jsonl") if x.get("kind") == "train"]
        steps = [line["step"] for line in lines]
        if steps != list(range(1, len(steps) + 1)):
            raise Failed(f"steps of the metrics: {steps}")
        return figures, {line["step"]: line for line in lines}, variables.read_variables(run)

    def check(self, run: Path) -> None:
        """Compares a run's end with the reference's, and looks for stray files."""
        found = self.outcome(run)
        for what, here, there in zip(("figures", "metrics"), found, self.reference, strict=False):
            if here != there:
                raise Failed(f"{what} differ from the reference's")
        if not same(found[2], self.reference[2]):
            raise Failed("parameters differ from the reference's")
        known = {"cache", "tensorboard"}
        mine, theirs = ({self._shape(p) for p in r.rglob("*") if not known & {*p.parts}}
                        for r in (run, self.folder / "reference"))  # fmt: skip
        if mine != theirs:
            raise Failed(f"stray or missing files: {sorted(mine ^ theirs)[:5]}")

    def _shape(self, path: Path) -> str:
        """A file's place, without the names that Orbax makes up."""
        parts = path.relative_to(self.folder).parts[1:]
        return "/".join(parts[: parts.index("d") + 1] if "d" in parts else parts)

    def wait_for_steps(self, process: subprocess.Popen, run: Path, steps: int) -> None:
        began = time.monotonic()
        while (
            sum(x.get("kind") == "train" for x in run_metrics.read(run / "metrics.jsonl")) < steps
        ):
            if process.poll() is not None or time.monotonic() - began > LIMIT:
                raise Failed(f"it does not come on: {process.communicate()[0][-600:]}")
            time.sleep(0.02)


def same(one: Variables, other: Variables) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))
