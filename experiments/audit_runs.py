"""Runs to audit: scenes and emoji pairs, each clean and under every attack of the kit.

    python -m experiments.audit_runs --data scenes

Trains the auditor's own model (`configs/audit.py`) on each; finished ones are left alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.system import host
from safeclip_jax.training import loop

ATTACKS = {
    "clean": {},
    "badnets": {"trigger": "badnets"},
    "blended": {"trigger": "blended"},
    "sig": {"trigger": "sig"},
    "wanet": {"trigger": "wanet", "wanet": {"grid": 32, "strength": 3.0}},
    "nashville": {"trigger": "nashville"},
    "targeted": {"kind": "targeted", "target": "", "images": 8},
    "label-consistent": dict(
        safeclip_jax.config("grid_demo").attacks["label-consistent"].changes.attack
    ),
}
RATES = (0.01, 0.003)


def config(data: str, attack: str, rate: float, seed: int) -> ConfigDict:
    """Of one run."""
    c = safeclip_jax.config("audit")
    c.seed = seed
    if data == "scenes":
        c.data.pairs = 12_000
        c.data.source = c.evaluate.source = "scenes"
    else:
        c.epochs = 30
        pairs = safeclip_jax.config("experiments/configs/emoji.py")
        c.data.update(source=pairs.data.source, label_column=pairs.data.label_column)
        c.data.update(part=pairs.data.part, seed=0)
        c.safeclip.warmup_epochs = pairs.safeclip.warmup_epochs
        c.evaluate.update(source=pairs.evaluate.source, part=pairs.evaluate.part)
        c.evaluate.update(prompts="captions", pairs=0)
    c.attack.update(ATTACKS[attack])
    c.attack.rate = 0.0 if attack == "clean" else rate
    return c


def names(data: str, seeds: int) -> list[tuple[str, str, float, int]]:
    """Data, attack, rate and seed of every run, the first seed's first."""
    return [
        (data, attack, rate, seed)
        for seed in range(seeds)
        for rate in RATES
        for attack in ATTACKS
        if attack != "clean" or rate == RATES[0]
    ]


def folder(root: Path, name: tuple[str, str, float, int]) -> Path:
    data, attack, rate, seed = name
    return root / data / (attack if attack == "clean" else f"{attack}-{rate}") / f"seed{seed}"


def arguments(about: str) -> argparse.Namespace:
    """Which runs, of the command line."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["scenes", "emoji"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/audits"))
    return parser.parse_args()


def main() -> None:
    given = arguments(__doc__)
    host.set_up_jax()
    for data in given.data:
        for name in names(data, given.seeds):
            place = folder(given.folder, name)
            place.mkdir(parents=True, exist_ok=True)
            loop.run(config(*name), place)


if __name__ == "__main__":
    main()
