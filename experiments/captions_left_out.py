"""Which captions does a defence leave out? Those of scenes that name no background, and the others.

    python -m experiments.captions_left_out RUN…

Each RUN is a finished one on scenes, of a defence with pools. A quarter of the captions say only
what stands where ("a picture of a red circle"), as prompts of zero-shot classification do. Prints
a Markdown table: of some epochs, the share of the honest pairs that are safe, of both kinds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments import finished_runs
from safeclip_jax import auditing
from safeclip_jax.data.sources.scenes import BACKGROUNDS


def names_a_background(caption: str) -> bool:
    return not BACKGROUNDS.keys().isdisjoint(caption.replace(",", "").split())


def measure(folder: Path) -> list[dict]:
    """A row for each of six epochs."""
    subject = auditing.of_run(folder)
    if subject.history is None:
        raise SystemExit(f"{folder} has no pools")
    captions = subject.pairs.captions
    honest = np.ones(len(captions), bool)
    honest[[] if subject.poisons is None else subject.poisons] = False
    says = np.array([names_a_background(caption) for caption in captions])
    past = subject.history.of(np.arange(len(captions)))
    rows = []
    for place in np.linspace(0, len(past.safe) - 1, 6).astype(int):
        safe = past.safe[place]
        row = {"run": subject.name, "epoch": int(subject.history.epochs[place])}
        row["background named"] = f"{safe[honest & says].mean():.1%}"
        rows.append(row | {"not named": f"{safe[honest & ~says].mean():.1%}"})
    return rows


if __name__ == "__main__":
    finished_runs.print_table(__doc__, measure)
