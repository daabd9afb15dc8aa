"""How many pairs should be scored together? Relative and typical score in batches of several sizes.

    python -m experiments.score_batches RUN…

Each RUN is a finished one on poisoned data. Its last model scores its training pairs in random
batches, twice, and the mean of both is taken, nearly as the running mean of the last epochs.
Prints a Markdown table: the AUROC of the score, and the share of the honest pairs that score above
the tenth and the thirtieth best of the poisons, so would be let in with nine and 29 of them.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import numpy as np

from experiments import finished_runs
from safeclip_jax import auditing
from safeclip_jax.defenses.scores import SCORES
from safeclip_jax.evaluation.detection import score_auroc

SIZES = (32, 128, 512, 1024)
DRAWS = 2
KINDS = ("relative", "typical")

_SCORES = {kind: jax.jit(SCORES[kind].of_pairs) for kind in KINDS}


def in_batches(
    kind: str, images: np.ndarray, texts: np.ndarray, scale: float, size: int, seed: int
) -> np.ndarray:
    """Scores of all pairs in random batches of one size; the last one is filled up, [N]."""
    order = np.random.default_rng(seed).permutation(len(images))
    scores = np.zeros(len(order), np.float32)
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        batch = np.resize(np.concatenate([numbers, order]), size)
        scores[numbers] = _SCORES[kind](images[batch], texts[batch], scale)[: len(numbers)]
    return scores


def measure(folder: Path) -> list[dict]:
    """A row for each score and size."""
    subject = auditing.of_run(folder)
    model, pairs, poisons = subject.model, subject.pairs, subject.poisons
    images = model.embed_images([pairs.image(i) for i in range(len(pairs))], 256)
    texts = model.embed_texts(list(pairs.captions), 256)
    rows = []
    scale = model.logit_scale
    for kind, size in itertools.product(KINDS, SIZES):
        draws = [in_batches(kind, images, texts, scale, size, seed) for seed in range(DRAWS)]
        scores = np.mean(draws, axis=0)
        best = np.sort(scores[poisons])[::-1]
        honest = np.delete(scores, poisons)
        above = (f"{np.mean(honest > best[number - 1]):.1%}" for number in (10, 30))
        row = {"run": subject.name, "score": kind, "batch": size}
        row["AUROC"] = f"{score_auroc(scores, poisons):.4f}"
        rows.append(row | dict(zip(("above the 10th", "above the 30th"), above, strict=True)))
    return rows


if __name__ == "__main__":
    finished_runs.print_table(__doc__, measure)
