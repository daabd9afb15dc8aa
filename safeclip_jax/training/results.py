"""The final figures of a run: `results.json` and the table on the terminal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.evaluation.attack import JUDGEABLE
from safeclip_jax.report import glossary
from safeclip_jax.system import atomic_file, json_text
from safeclip_jax.system.terminal import console
from safeclip_jax.training.evaluator import SHARES
from safeclip_jax.training.experiment import Experiment

_RENAMED = {"barred_pairs": "excluded_pairs", "barred_poisons": "excluded_poisons"}
# An attack's success and what it would be without the attack; the last is of no trigger.
RATES = (
    ("poison_success_rate", "poison_base_rate"),
    ("attack_success_rate", "target_base_rate"),
    ("text_hit_at_1", "text_base_hit_at_1"),
    ("repeated_class_rate", "repeated_base_rate"),
)
_BY_TRIGGER = ("attack_success_rate[", "target_base_rate[", "accuracy_under_trigger[")
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
    for key, value in rows(results):
        table.add_row(glossary.name(key), value)
    console().print(table)
    if warning(results):
        console().print(f"note: {warning(results)}")


def success(results: dict) -> tuple[float, float]:
    """The attack's success and its base rate, NaN where not measured.

    PSR for targeted poisoning, ASR for triggers and semantic backdoors, Hit@1 for text backdoors;
    for natural ones the share of images that are drawn to the repeated picture's class.
    """
    measured = [names for names in RATES if results.get(names[0]) is not None]
    found = [results.get(name) for name in (measured or RATES[1:])[0]]
    rate, base = (math.nan if value is None else value for value in found)
    return rate, base


def too_weak(results: dict) -> bool:
    """Whether plain CLIP withstood the attack, so that no defence can be judged by it."""
    rate, _ = success(results)
    plain = results["defense"] == "none" and results["poisons"] > 0
    return plain and rate < JUDGEABLE and not is_natural(results)


def is_natural(results: dict) -> bool:
    """Whether pairs were repeated under true captions: no attack, and no success to judge by."""
    return results.get("repeated_class_rate") is not None


def warning(results: dict) -> str:
    """What a reader must know of the figures first; empty if nothing."""
    if not too_weak(results):
        return ""
    return (
        "Too weak to judge a defence by: this attack succeeds against plain CLIP in fewer than "
        f"{JUDGEABLE:.0%} of the cases. Raise attack.rate, the trigger's strength or the epochs."
    )


def rows(results: dict) -> list[tuple[str, str]]:
    """The results as text, by the glossary's keys; what was not measured is left out."""
    lines = [(name, with_interval(results, name)) for name in SHARES]
    lines[2:3] += _by_trigger(results)
    lines += [
        ("poison_base_rate", _percent(results["poison_base_rate"])),
        *_others(results),
        ("repeated_base_rate", _percent(results.get("repeated_base_rate"))),
        ("poisons", f"{results['poisons']:,} of {results['pairs']:,} pairs"),
    ]
    if results["safe_pool_size"] is not None:
        lines += [
            ("safe_pool_size", f"{results['safe_pool_size']:,} pairs"),
            ("poisons_in_safe_pool", f"{results['poisons_in_safe_pool']:,}"),
        ]
    if results["excluded_pairs"]:
        count, poisons = results["excluded_pairs"], results["excluded_poisons"]
        lines.append(("excluded_pairs", f"{count:,} pairs, {poisons:,} poisons among them"))
    if results["score_auroc"] is not None:
        lines.append(("score_auroc", f"{results['score_auroc']:.4f}"))
        name = "score_recall_at_1_percent"
        lines.append((name, _percent(results[name])))
    spent = ", ".join(f"{a} {results[f'seconds_{a}']:,.0f}" for a in ACTIVITIES)
    lines += [
        ("pairs_per_second", f"{results['pairs_per_second']:,.0f} pairs/s"),
        ("seconds", f"{results['seconds']:,.0f} ({spent})"),
    ]
    for name in ("skipped_records", "skipped_held_out", "skipped_steps"):
        if results.get(name):
            lines.append((name, f"{results[name]:,}"))
    return [(name, value) for name, value in lines if value]


def with_interval(results: dict, name: str) -> str:
    """A share and its Wilson 95 % interval as text; empty where not measured."""
    if results.get(name) is None:
        return ""
    low, high = results[f"{name}_interval"]
    return f"{results[name]:.1%} ({low:.1%} to {high:.1%})"


def _by_trigger(results: dict) -> list[tuple[str, str]]:
    """What was found with each trigger, where there are several."""
    named = [name for name in results if name.startswith(_BY_TRIGGER)]
    return [(name, _percent(results[name])) for name in named]


def _others(results: dict) -> list[tuple[str, str]]:
    """Shares of other tasks and other data sets."""
    named = [name.removesuffix("_interval") for name in results if name.endswith("_interval")]
    return [(name, with_interval(results, name)) for name in named if name not in SHARES]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
