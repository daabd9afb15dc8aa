"""Does SafeCLIP as the authors' code runs do on scenes what it was seen to do? Epoch by epoch.

    python -m experiments.published

3,000 scenes, a patch of 8 pixels in 5 % of them, 16 epochs: the code's mixture, loss, first pool,
captions and scores, with the code's learning rates and with the paper's; and `safeclip` by the
paper's rule. Each run is a command of its own in `--folder`; finished ones are not run again.
Writes `results/published.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import result_file
from benchmarks.result_file import FOLDER, ResultFile
from experiments.demo import run
from safeclip_jax.training import metrics

COMMON: dict[str, object] = {
    **{"epochs": 16, "batch_size": 64, "data.pairs": 3000, "score.kind": "cosine"},
    **{"attack.rate": 0.05, "attack.badnets.size": 0.25, "evaluate.every": 1},
    "unimodal.bank_size": 256,
}
CODE: dict[str, object] = {"defense": "published", "data.augment_captions": "published"}
TRAININGS: dict[str, dict[str, object]] = {
    "published": CODE,
    "published, the paper's rates": {**CODE, "published.code_rates": False},
    "safeclip, the paper's rule": {"defense": "safeclip", "safeclip.rule": "paper"},
}
EARLY = {"warmup_epochs": 1, "slow_epochs": 1, "slow_learning_rate": 5e-4, "growth": 0.01}


def by_epoch(folder: Path, pairs: int) -> list[dict[str, object]]:
    """What was found after each epoch, shares in %."""
    rows: dict[int, dict[str, object]] = {}
    for line in metrics.read(folder / "metrics.jsonl"):
        if "epoch" not in line:
            continue
        row = rows.setdefault(line["epoch"], {"epoch": line["epoch"] + 1})
        if line.get("kind") == "pools":
            row["safe_share"] = round(100 * line["safe_pool_size"] / pairs, 1)
            row["poisons_in_safe_pool"] = line["poisons_in_safe_pool"]
            row["auroc"] = round(line["score_auroc"], 3)
        if line.get("kind") == "evaluation":
            row["accuracy"] = round(100 * line["zero_shot_accuracy"], 1)
            row["attack_success_rate"] = round(100 * line["attack_success_rate"], 1)
            row["base_rate"] = round(100 * line["target_base_rate"], 1)
        if line.get("stage") == "safe":
            row["last_rate"] = line["learning_rate"]
    return [rows[epoch] for epoch in sorted(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/experiments-published"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    written, device = ResultFile(FOLDER / "published.json"), result_file.host()
    for name, changes in TRAININGS.items():
        section = changes["defense"]
        early = {f"{section}.{key}": value for key, value in EARLY.items()}
        folder = arguments.folder / f"{name.replace(' ', '_')}-seed{arguments.seed}"
        found = run(folder, {**COMMON, **early, **changes, "seed": arguments.seed})
        for row in by_epoch(folder, found["pairs"]):
            written.add({"training": name, "seed": arguments.seed, "device": device, **row})


if __name__ == "__main__":
    main()
