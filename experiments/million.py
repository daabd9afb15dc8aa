"""SafeCLIP at the paper's number of pairs: `experiments/configs/million.py` in a few minutes.

    python -m experiments.million --rate 0.0005 --defenses none safeclip --seconds 480

All cores draw the scenes into one file, one epoch of plain CLIP is timed, and then every defence
trains for as many epochs as fit, the same number each; `--epochs` fixes it, for a second call with
another rate. A run is evaluated after every epoch: one that is cut off is a row with what it had
reached. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import safeclip_jax
from benchmarks import apart, markdown
from benchmarks.result_file import FOLDER, ResultFile
from experiments import drawn_scenes

CONFIG = Path(__file__).with_name("configs") / "million.py"
CORES = len(os.sched_getaffinity(0))
START_OF_WORKERS = 6.0  # seconds, for each stage and each scoring
# Of an epoch: what steps and scores take over plain CLIP's steps (docs/scaling.md), and how often
# workers start. Of a run: what is no epoch, over plain CLIP's.
STEPS = {"none": 1.0, "safeclip": 1.6, "safeclip_plus": 1.6}
STARTS = {"none": 0, "safeclip": 3, "safeclip_plus": 3}
BESIDE = {"none": 1.0, "safeclip": 1.5, "safeclip_plus": 1.5}
LEAST_EPOCHS, MOST_EPOCHS = 4, 32
FIGURES = (
    *("zero_shot_accuracy", "attack_success_rate", "target_base_rate", "score_auroc"),
    *("safe_pool_size", "poisons_in_safe_pool"),
)


def config_of(changes: Mapping[str, Any]) -> ConfigDict:
    config = safeclip_jax.config(str(CONFIG))
    config.update_from_flattened_dict(dict(changes))
    return config


def train(changes: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trains in this process, and returns the device."""
    import jax

    from safeclip_jax.data.sources import KINDS
    from safeclip_jax.system import host
    from safeclip_jax.training import loop

    logging.getLogger("absl").setLevel(logging.WARNING)
    host.set_up_jax()
    KINDS["drawn"] = lambda path, options: drawn_scenes.DrawnScenes(Path(path))
    loop.run(config_of(changes), folder)
    return {"device": jax.devices()[0].device_kind}


def reached(folder: Path) -> dict[str, Any]:
    """The figures of a run, or of its last evaluated epoch if it was cut off."""
    from safeclip_jax.training import metrics as run_metrics
    from safeclip_jax.training import results

    lines = run_metrics.read(folder / "metrics.jsonl")
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    course = [(line["epoch"] + 1, line["zero_shot_accuracy"], line["attack_success_rate"])
              for line in evaluations]  # fmt: skip
    if (folder / "results.json").exists():
        found = results.read(folder / "results.json")
        seconds = {name: found[name] for name in found if name.startswith("seconds")}
        steps = {"pairs/s in steps": found["pairs_per_second"], "steps": found["steps"]}
        steps["share in steps"] = round(found["seconds_train"] / found["seconds"], 3)
        return {name: found[name] for name in FIGURES} | steps | seconds | {"course": course}
    last = {line["kind"]: line for line in lines}
    known = last.get("evaluation", {}) | last.get("pools", {})
    cut = {"cut off after epochs": len(evaluations), "course": course}
    return {name: known.get(name) for name in FIGURES} | cut


def fitting(
    seconds: float, beside: float, epoch: float, start: float, defenses: Sequence[str]
) -> int:
    """Epochs of each defence that so many seconds hold.

    Args:
      seconds: for all runs.
      beside: seconds of a run of plain CLIP that are no epoch's.
      epoch: seconds of its epoch.
      start: seconds in which workers start.
      defenses: the runs.
    """
    left = 0.95 * seconds - sum(beside * BESIDE[name] for name in defenses)
    fit = int(left / sum(epoch * STEPS[name] + start * STARTS[name] for name in defenses))
    return min(max(fit, LEAST_EPOCHS), MOST_EPOCHS)


def place(pictures: int) -> str | None:
    """The folder for so many bytes of pictures: memory if it holds them, or the usual one."""
    memory = Path("/dev/shm")
    holds = memory.is_dir() and shutil.disk_usage(memory).free > 1.5 * pictures
    return str(memory) if holds else None


class Pieces:
    """The runs of one call."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self._args, self._folder = args, folder
        self._deadline = apart.Deadline(args.seconds)
        self._run = apart.Runner("experiments.million", self._deadline)
        self._changes = dict(args.set) | {"attack.rate": args.rate}

    def rows(self) -> Iterator[dict[str, Any]]:
        yield self._draw()
        epochs = self._args.epochs
        if not epochs:
            timed = self._trained("none", 1, {"attack.rate": 0.0})  # then nothing is scored
            yield {"what": "one epoch, timed"} | timed
            epochs = self._chosen(timed)
        for defense in self._args.defenses:
            row = {"what": "run", "defense": defense, "rate": self._args.rate, "epochs": epochs}
            yield row | self._trained(defense, epochs)

    def _draw(self) -> dict[str, Any]:
        start, config = time.monotonic(), config_of(self._changes)
        size, count = config.model.image_size, config.data.pairs
        drawn_scenes.draw(count, config.data.seed, size, self._folder, CORES)
        self._changes |= {"data.source": f"drawn:{self._folder}", "data.tokenizer": "train"}
        self._changes |= {"data.pairs": 0}
        spent = time.monotonic() - start
        return {"what": "scenes drawn", "pairs": count, "cores": CORES, "wall s": round(spent, 1)}

    def _chosen(self, timed: Mapping[str, Any]) -> int:
        if "error" in timed:
            return LEAST_EPOCHS
        epoch = sum(timed[f"seconds_{part}"] for part in ("train", "input", "checkpoint"))
        beside = max(timed["wall s"] - epoch, 0.0)
        start = START_OF_WORKERS if self._args.workers else 0.0
        return fitting(self._deadline.left, beside, epoch, start, self._args.defenses)

    def _trained(
        self, defense: str, epochs: int, others: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        folder = self._folder / f"{defense}-{epochs}"
        # Workers are for captions that change: plain ones, and pictures, come from memory.
        workers = 0 if defense == "none" else self._args.workers
        changes = self._changes | dict(others or {}) | {"data.workers": workers}
        changes |= {"defense": defense, "epochs": epochs}
        start = time.monotonic()
        result = self._run({"changes": changes, "folder": str(folder)})
        result["wall s"] = round(time.monotonic() - start, 1)
        return result | reached(folder)


def _change(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m experiments.million", description=__doc__.splitlines()[0]
    )
    made.add_argument("--rate", type=float, default=0.0005, help="share of poisoned pairs")
    made.add_argument("--defenses", nargs="+", default=["none", "safeclip"], choices=STEPS)
    made.add_argument("--epochs", type=int, default=0, help="default: as many as fit")
    made.add_argument("--workers", type=int, default=CORES if CORES > 4 else 0, help="that read")
    made.add_argument("--set", type=_change, nargs="+", default=[], help="KEY=VALUE of the config")
    made.add_argument("--seconds", type=float, default=480, help="for everything")
    made.add_argument("--json", type=Path, default=FOLDER / "million.json")
    made.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    return made


def main() -> None:
    args = parser().parse_args()
    if args.case:
        print(json.dumps(train(args.case["changes"], Path(args.case["folder"]))))
        return
    apart.stop_on_sigterm()
    found = ResultFile(args.json)
    size, pairs = (
        config_of(dict(args.set))[k][v] for k, v in (("model", "image_size"), ("data", "pairs"))
    )
    with tempfile.TemporaryDirectory(dir=place(3 * size**2 * pairs)) as folder:
        for row in Pieces(args, Path(folder)).rows():
            found.add(row)
    columns = ("defense", "rate", "epochs", *FIGURES, "share in steps", "wall s", "error")
    runs = [row for row in found.rows if row["what"] == "run"]
    print(f"\n{markdown.table([{k: row.get(k, '–') for k in columns} for row in runs])}")
    print(f"\n{found.path}")


if __name__ == "__main__":
    main()
