"""Which score tells poisons best? Every score at every epoch of SafeCLIP, under each attack.

    python -m benchmarks.filters --attacks badnets wanet

Trains a cell of the grid (`configs/grid_demo.py`, validation split, no fence) and, where it
assigns pools, also computes the other scores from the same weights. The pools are the
defence's own, so all scores see the same training. Prints JSON lines, then a Markdown table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from scipy.stats import rankdata

from benchmarks import score_batches
from safeclip_jax import defenses
from safeclip_jax.commands import command_line
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.evaluation.detection import score_auroc, score_recall
from safeclip_jax.grid import cells as grid
from safeclip_jax.neighbors import density
from safeclip_jax.runs import run_folder
from safeclip_jax.training import loop, scoring
from safeclip_jax.training.experiment import build

REFERENCE, NEIGHBORS = 1024, 16


class Observer(loop.Trainer):
    """A trainer that measures other scores beside the one in use."""

    def __init__(self, *args):
        super().__init__(*args)
        self.found: list[dict] = []
        self._history: dict[str, list[np.ndarray]] = {}

    def _assign_pools(self, epoch: int) -> Pools:
        poisons = self.x.attack.manifest.indices
        for name, scores in self._scores(epoch).items():
            held = np.isin(poisons, np.argsort(-scores)[: round(0.97 * len(scores))]).sum()
            self.found.append({
                "epoch": epoch,
                "score": name,
                "auroc": score_auroc(scores, poisons),
                "recall": score_recall(scores, poisons),
                "in_top_97": int(held),
            })  # fmt: skip
        return super()._assign_pools(epoch)

    def _scores(self, epoch: int) -> dict[str, np.ndarray]:
        images, texts = self._embeddings()
        x = self.x
        scale = float(x.steps.model.apply(self.state.variables, method="logit_scale"))
        size = defenses.score_batch(x.config)
        scores = {"cosine": np.sum(images * texts, axis=1)}
        for kind in score_batches.KINDS:
            scores[kind] = score_batches.in_batches(kind, images, texts, scale, size, epoch)
        rng = np.random.default_rng(epoch)
        reference = np.sort(rng.choice(len(images), REFERENCE, replace=False))
        for side, points in (("image", images), ("text", texts)):
            near = density.neighbors(points, reference, NEIGHBORS, self.x.mesh)
            for detector in (density.k_distance, density.slof, density.lid, density.dao):
                scores[f"{detector.__name__}, {side}"] = -detector(near)
        scores["neighbours' captions"] = _agreement(images, texts, reference, self.x.mesh)
        for name in ("cosine", *score_batches.KINDS):
            past = self._history.setdefault(name, [])
            past.append(scores[name])
            scores[f"{name}, mean of 3 epochs"] = np.mean(past[-3:], axis=0)
        ranks = {name: rankdata(values) for name, values in scores.items()}
        scores["rank of typical + neighbours' captions"] = (
            ranks["typical"] + ranks["neighbours' captions"]
        )
        scores["lower rank of typical, DAO"] = np.minimum(ranks["typical"], ranks["dao, image"])
        return scores

    def _embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        x, variables = self.x, self.state.variables
        images = [vectors for _, vectors in scoring.images(x, self.state, x.pairs)]
        tokens = x.tokenizer.encode(list(x.source.captions))
        texts = x.steps.embedder.texts(variables, tokens, x.config.score.batch_size)
        return np.concatenate(images), texts


def _agreement(
    images: np.ndarray, texts: np.ndarray, reference: np.ndarray, mesh: Mesh
) -> np.ndarray:
    """Cosine of a pair's caption with the mean caption of its image's nearest neighbours."""
    near = density.neighbors(images, reference, NEIGHBORS, mesh)
    mean = texts[reference][near.indices].mean(axis=1)
    return np.sum(texts * mean / np.linalg.norm(mean, axis=1, keepdims=True), axis=1)


def run(config: ConfigDict, folder: Path) -> list[dict]:
    """Trains one cell and returns what was measured, or reads it."""
    path = folder / "scores.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        experiment = build(config, folder)
        run_folder.claim(folder, config)
        trainer = Observer(experiment, folder)
        trainer.train()
        found = trainer.finish()
        print(folder.name, found["zero_shot_accuracy"], found["attack_success_rate"])
        trainer.close()
        path.write_text(json.dumps(trainer.found))
    return json.loads(path.read_text())


def table(found: dict[str, list[dict]]) -> str:
    """Mean over the epochs of AUROC and recall, a row a score, a column an attack."""
    names = list(dict.fromkeys(m["score"] for rows in found.values() for m in rows))
    lines = [f"| score | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for name in names:
        cells = []
        for rows in found.values():
            mine = [m for m in rows if m["score"] == name]
            auroc, recall = (np.mean([m[key] for m in mine]) for key in ("auroc", "recall"))
            held = [m["in_top_97"] for m in mine]
            cells.append(f"{auroc:.4f}, {recall:.0%}, {held[0]}→{held[-1]}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attacks", nargs="+", required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks-filters"))
    parser.add_argument("--defense", default="SafeCLIP+")
    parser.add_argument("--seed", type=int, default=12)
    arguments = parser.parse_args()
    command_line.set_up_jax()
    whole = grid.load("configs/grid_demo.py")
    whole.first_seed, whole.cell.evaluate.split = arguments.seed, "validation"
    whole.cell.safeclip_plus.scout_epochs, whole.cell.safeclip_plus.fence = 0, 0.0
    grid.select(whole, arguments.attacks, [arguments.defense])
    measured = {}
    for cell in grid.of(whole, arguments.folder):
        if cell.seed == arguments.seed:
            measured[cell.attack] = run(cell.config, cell.folder)
            print(json.dumps({"attack": cell.attack, "scores": measured[cell.attack]}))
    print(table(measured))
