"""How much of a SafeCLIP epoch is not train steps, and what does reusing scores change?

    python -m benchmarks.epoch_overhead

Trains the demo with a ViT without stem, a model in which a forward pass has its usual third
of a step, with scores taken anew and with scores remembered from train steps (`score.reuse`).
Prints for every epoch with pools the share of its time that is not `train` or `input`, what
scoring alone takes, the AUROC of the scores and the poisons in the safe pool.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import jax

from benchmarks import markdown
from configs import demo
from safeclip_jax.commands import command_line
from safeclip_jax.training import loop
from safeclip_jax.training import metrics as run_metrics


def run(defense: str, reuse: bool, folder: Path, epochs: int, pairs: int) -> list[dict]:
    """Trains and returns a row for each epoch with pools."""
    config = demo.get_config()
    config.defense, config.score.reuse = defense, reuse
    config.epochs, config.data.pairs = epochs, pairs
    config.model.preset = "vit_nano8"
    config.evaluate.every = 0
    config.keep_checkpoints = epochs
    config.attack.trigger = "wanet"
    loop.run(config, folder)
    seconds = {0: dict.fromkeys(("train", "input", "scoring", "checkpoint", "total", "compile"), 0)}
    for path in (folder / "checkpoints").glob("*/position/metadata"):
        position = json.loads(path.read_text())
        seconds[position["epoch"]] = position["seconds"]
    rows = []
    for line in run_metrics.read(folder / "metrics.jsonl"):
        if line["kind"] != "pools":
            continue
        epoch = line["epoch"]
        before, after = seconds[epoch], seconds[epoch + 1]
        spent = {name: after[name] - before.get(name, 0) for name in after}
        whole = spent["total"] - spent["compile"]
        rows.append({
            "defence": defense,
            "scores": "reused" if reuse else "anew",
            "epoch": epoch + 1,
            "safe share": round(line["safe_pool_size"] / pairs, 3),
            "beyond steps %": round(100 * (1 - (spent["train"] + spent["input"]) / whole), 1),
            "scoring %": round(100 * spent["scoring"] / whole, 1),
            "AUROC": round(line["score_auroc"], 4),
            "poisons held": line["poisons_in_safe_pool"],
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=12_000)
    parser.add_argument("--defenses", nargs="+", default=["safeclip", "safeclip_plus"])
    arguments = parser.parse_args()
    command_line.set_up_jax()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for defense in arguments.defenses:
            for reuse in (False, True):
                where = Path(folder) / f"{defense}-{reuse}"
                rows += run(defense, reuse, where, arguments.epochs, arguments.pairs)
                print(json.dumps(rows[-1]), flush=True)
                jax.clear_caches()
    print(f"\n{markdown.table(rows)}")


if __name__ == "__main__":
    main()
