"""What does the demo show? Several seeds of each training, and of the filter's parts.

    python -m experiments.demo                     # seeds 0, 1, 2, test split
    python -m experiments.demo --question=filter   # seed 10, validation split

Each run is a command of its own in `--folder`; finished ones are not run again. Prints a
JSON object, then a table in Markdown: mean ± standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

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
}
SEEDS = {"defenses": (0, 1, 2), "filter": (10,)}
SPLITS = {"defenses": "test", "filter": "validation"}
COLUMNS = {
    "accuracy": "zero_shot_accuracy",
    "ASR": "attack_success_rate",
    "base rate": "target_base_rate",
    "poisons in the safe pool": "poisons_in_safe_pool",
    "AUROC": "score_auroc",
}
IN_PERCENT = {"accuracy", "ASR", "base rate"}


def run(folder: Path, overrides: dict[str, object]) -> dict:
    """Runs the demo with changed keys, unless it was, and returns its results."""
    path = folder / "results.json"
    if not path.exists():
        flags = [f"--config.{key}={value}" for key, value in overrides.items()]
        command = [sys.executable, "-m", "safeclip_jax.main", "--config=demo"]
        subprocess.run([*command, f"--workdir={folder}", *flags], check=True, stdout=sys.stderr)
    return json.loads(path.read_text())


def cell(name: str, values: list[float | None]) -> str:
    if None in values:
        return "–"
    unit, scale = (" %", 100) if name in IN_PERCENT else ("", 1)
    digits = 4 if name == "AUROC" else 1
    spread = f" ± {scale * np.std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * np.mean(values):.{digits}f}{spread}{unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--question", choices=VARIANTS, default="defenses")
    parser.add_argument("--seeds", type=int, nargs="+", help="other than the question's own")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks-demo"))
    arguments = parser.parse_args()
    question = arguments.question
    common = {"evaluate.split": SPLITS[question]}
    found: dict[str, list[dict]] = {name: [] for name in VARIANTS[question]}
    for seed in arguments.seeds or SEEDS[question]:
        for number, (name, overrides) in enumerate(VARIANTS[question].items()):
            folder = arguments.folder / f"{question}-{number}-seed{seed}"
            found[name].append(run(folder, {"seed": seed, **common, **overrides}))
    print(json.dumps(found))
    print(f"\n| training | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name, results in found.items():
        cells = [cell(column, [r[key] for r in results]) for column, key in COLUMNS.items()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
