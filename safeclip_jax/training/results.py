"""The final figures of a run: `results.json` and the table on the terminal."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from rich.table import Table

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.evaluation.attack import JUDGEABLE
from safeclip_jax.system import atomic_file, json_text
from safeclip_jax.system.terminal import console
from safeclip_jax.training.evaluator import SHARES
from safeclip_jax.training.experiment import Experiment

_RENAMED = {"barred_pairs": "excluded_pairs", "barred_poisons": "excluded_poisons"}
ACTIVITIES = ("train", "input", "scoring", "checkpoint", "evaluation", "compile")


def collect(
    experiment: Experiment,
    figures: dict[str, Any],
    quality: dict[str, float | int | None],
    seconds: dict[str, float],
    steps: int,
    skipped_steps: int,
) -> dict:
    """Gathers what a run found.

    Args:
      figures: of the last evaluation.
      quality: of the last pools, see `pool_quality`.
      seconds: by activity and `total`.
      steps: train steps.
      skipped_steps: of those, the ones without an update.

    Returns:
      The content of `results.json`. `pairs_per_second` is of the train steps alone.
    """
    config = experiment.config
    activities = {f"seconds_{a}": round(seconds.get(a, 0.0), 2) for a in ACTIVITIES}
    total, training = seconds["total"], seconds.get("train", 0.0)
    return {
        "defense": config.defense,
        "seed": config.seed,
        "pairs": len(experiment.source),
        "poisons": len(experiment.attack.manifest.pairs),
        "target": config.attack.target,
        **figures,
        **quality,
        "skipped_records": len(experiment.skipped),
        "steps": steps,
        "skipped_steps": skipped_steps,
        "pairs_per_second": round(steps * config.batch_size / max(training, 1e-9), 1),
        "seconds": round(total, 2),
        **activities,
        "share_beyond_train_steps": round(1 - training / total, 4),
    }


def read(path: Path) -> dict:
    """Reads what `write` wrote; `UserError` if it cannot be read."""
    try:
        found = json_text.read(path.read_text())
        return {_RENAMED.get(name, name): value for name, value in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}): delete it to evaluate again"
        ) from None


def write(path: Path, results: dict) -> None:
    """Writes `results.json`, the sign of a finished run."""
    atomic_file.write_text(path, json.dumps(results, indent=1) + "\n")


def show(results: dict) -> None:
    """Prints the figures that a reader wants first."""
    table = Table("", "", title=f"{results['defense']}, seed {results['seed']}", show_header=False)
    for name, value in rows(results):
        table.add_row(name, value)
    console().print(table)
    if too_weak(results):
        console().print(
            f"note: this attack succeeds against plain CLIP in fewer than {JUDGEABLE:.0%} of the "
            "cases: too weak to judge a defence by. Raise attack.rate, the trigger's strength or "
            "the epochs."
        )


def success(results: dict) -> tuple[float, float]:
    """The attack's success and its base rate, NaN where not measured.

    PSR for targeted poisoning, else ASR.
    """
    targeted = results["poison_success_rate"] is not None
    names = ("poison_success_rate", "poison_base_rate") if targeted else (
        "attack_success_rate", "target_base_rate"
    )  # fmt: skip
    rate, base = (math.nan if results[name] is None else results[name] for name in names)
    return rate, base


def too_weak(results: dict) -> bool:
    """Whether plain CLIP withstood the attack, so that no defence can be judged by it."""
    rate, _ = success(results)
    plain = results["defense"] == "none" and results["poisons"] > 0
    return plain and rate < JUDGEABLE


def rows(results: dict) -> list[tuple[str, str]]:
    """The results as named lines of text; what was not measured is left out."""
    lines = [
        ("zero-shot accuracy", _with_interval(results, "zero_shot_accuracy")),
        ("attack success rate", _with_interval(results, "attack_success_rate")),
        *_by_trigger(results),
        ("target's base rate", _with_interval(results, "target_base_rate")),
        ("poison success rate", _with_interval(results, "poison_success_rate")),
        ("its base rate", _percent(results["poison_base_rate"])),
        *_others(results),
        ("poisons", f"{results['poisons']} of {results['pairs']} pairs"),
    ]
    if results["safe_pool_size"] is not None:
        lines += [
            ("poisons in the safe pool", f"{results['poisons_in_safe_pool']}"),
            ("safe pool", f"{results['safe_pool_size']} pairs"),
        ]
    if results["excluded_pairs"]:
        count, poisons = results["excluded_pairs"], results["excluded_poisons"]
        lines.append(("excluded as outliers", f"{count} pairs, {poisons} poisons among them"))
    if results["score_auroc"] is not None:
        lines.append(("AUROC of the score", f"{results['score_auroc']:.4f}"))
        recall = _percent(results["score_recall_at_1_percent"])
        lines.append(("its recall at 1 % false positives", recall))
    spent = ", ".join(f"{a} {results[f'seconds_{a}']:.0f}" for a in ACTIVITIES)
    lines += [
        ("training", f"{results['pairs_per_second']:.0f} pairs/s"),
        ("seconds", f"{results['seconds']:.0f} ({spent})"),
    ]
    if results["skipped_records"]:
        lines.append(("records that could not be used", f"{results['skipped_records']}"))
    if results.get("skipped_held_out"):
        lines.append(("held-out images not used", f"{results['skipped_held_out']}"))
    if results["skipped_steps"]:
        lines.append(("steps without an update", f"{results['skipped_steps']}"))
    return [(name, value) for name, value in lines if value]


def _with_interval(results: dict, name: str) -> str:
    """A share and its Wilson 95 % interval."""
    if results[name] is None:
        return ""
    low, high = results[f"{name}_interval"]
    return f"{results[name]:.1%}  ({low:.1%} to {high:.1%})"


def _by_trigger(results: dict) -> list[tuple[str, str]]:
    """The attack's success with each trigger, where there are several."""
    named = {re.fullmatch(r"attack_success_rate\[(.*)\]", name): name for name in results}
    return [(f"  by {m[1]}", _percent(results[name])) for m, name in named.items() if m]


def _others(results: dict) -> list[tuple[str, str]]:
    """Shares of other tasks and other data sets."""
    named = [name.removesuffix("_interval") for name in results if name.endswith("_interval")]
    return [
        (name.replace("_", " "), _with_interval(results, name))
        for name in named
        if name not in SHARES
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
