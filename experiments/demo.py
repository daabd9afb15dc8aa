"""What does the demo show? Several seeds of each training, and of the filter's parts.

    python -m experiments.demo                      # seeds 0, 1, 2, test split
    python -m experiments.demo --question=filter    # seed 10, validation split
    python -m experiments.demo --question=cost      # what makes it faster, and what that costs
    python -m experiments.demo --question=seconds   # where they go; alone on the machine

Each run is a command of its own in `--folder`; finished ones are not run again. Writes
`results/demo.json`, for the other questions `results/demo_QUESTION.json`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import result_file
from benchmarks.result_file import FOLDER, ResultFile

PLAIN = {"score.kind": "cosine", "safeclip.rule": "paper"}
VARIANTS: dict[str, dict[str, dict[str, object]]] = {
    "defenses": {
        "CLIP": {"defense": "none"},
        "CLIP + augmentation": {"defense": "augmentation"},
        "SafeCLIP": {"defense": "safeclip"},
    },
    "filter": {
        "cosine, plain responsibility (paper)": PLAIN,
        "cosine, monotone": {"score.kind": "cosine"},
        "relative, monotone (the demo)": {},
        "the demo, nothing poisoned": {"attack.rate": 0.0},
    },
    "cost": {
        "SafeCLIP": {"defense": "safeclip"},
        "SafeCLIP, scores reused": {"score.reuse": True},
        "SafeCLIP, bfloat16": {"model.dtype": "bfloat16"},
    },
    "seconds": {"SafeCLIP": {"defense": "safeclip"}},
}
SEEDS = {"defenses": (0, 1, 2), "filter": (10,), "cost": (0, 1, 2), "seconds": (0,)}
SPLITS = {"filter": "validation"}
SHARES = ("zero_shot_accuracy", "attack_success_rate", "target_base_rate")
FIGURES = {
    "accuracy": "zero_shot_accuracy",
    "attack_success_rate": "attack_success_rate",
    "base_rate": "target_base_rate",
    "poisons_in_safe_pool": "poisons_in_safe_pool",
    "auroc": "score_auroc",
    "seconds": "seconds",
    "scoring": "seconds_scoring",
}
ACTIVITIES = ("train", "input", "scoring", "checkpoint", "evaluation", "compile")


def run(folder: Path, overrides: dict[str, object]) -> dict:
    """Runs the demo with changed keys, unless it was, and returns its results."""
    path = folder / "results.json"
    if not path.exists():
        flags = [f"--config.{key}={value}" for key, value in overrides.items()]
        command = [sys.executable, "-m", "safeclip_jax.main", "--config=demo"]
        subprocess.run([*command, f"--workdir={folder}", *flags], check=True, stdout=sys.stderr)
    return json.loads(path.read_text())


def over_seeds(results: list[dict]) -> dict[str, object]:
    """Mean and standard deviation of each figure; shares in %. None where a run has none."""
    row: dict[str, object] = {"seeds": len(results)}
    for name, key in FIGURES.items():
        values = [result[key] for result in results]
        if None in values:
            row[name] = None
            continue
        scaled = np.array(values, float) * (100 if key in SHARES else 1)
        row[name] = {"mean": round(scaled.mean(), 4), "sd": round(scaled.std(), 4)}
    return row


def seconds_of(result: dict) -> dict[str, object]:
    """Where the seconds of one run went."""
    spent = {name: round(result[f"seconds_{name}"], 1) for name in ACTIVITIES}
    beyond = 100 * (1 - result["seconds_train"] / result["seconds"])
    return {"seconds": round(result["seconds"], 1), **spent, "beyond_train_percent": beyond}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--question", choices=VARIANTS, default="defenses")
    parser.add_argument("--seeds", type=int, nargs="+", help="other than the question's own")
    parser.add_argument("--folder", type=Path, default=Path("runs/experiments-demo"))
    arguments = parser.parse_args()
    question = arguments.question
    common = {"evaluate.split": SPLITS.get(question, "test")}
    found: dict[str, list[dict]] = {name: [] for name in VARIANTS[question]}
    for seed in arguments.seeds or SEEDS[question]:
        for name, overrides in VARIANTS[question].items():
            named = re.sub("[^a-z0-9]+", "_", name.lower())
            folder = arguments.folder / common["evaluate.split"] / f"{named}-seed{seed}"
            found[name].append(run(folder, {"seed": seed, **common, **overrides}))
    file = "demo.json" if question == "defenses" else f"demo_{question}.json"
    written = ResultFile(FOLDER / file)
    device = result_file.host()
    for name, results in found.items():
        row = seconds_of(results[0]) if question == "seconds" else over_seeds(results)
        written.add({"training": name, "device": device, **row})


if __name__ == "__main__":
    main()
