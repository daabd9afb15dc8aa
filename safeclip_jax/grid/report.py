"""What a grid found: a table on the terminal, in Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from safeclip_jax.evaluation.attack import JUDGEABLE
from safeclip_jax.grid import overall, plots
from safeclip_jax.report import pages
from safeclip_jax.system import atomic_file
from safeclip_jax.system.csv_cells import harmless
from safeclip_jax.system.terminal import console
from safeclip_jax.training.results import is_natural, success

Result = dict
Rows = list[list[str]]

COLUMNS = (
    *("attack", "defense_name", "seed", "pairs", "poisons", "zero_shot_accuracy"),
    *("attack_success_rate", "target_base_rate", "poison_success_rate", "poison_base_rate"),
    *("score_auroc", "score_recall_at_1_percent", "safe_pool_size", "poisons_in_safe_pool"),
    *("accuracy_under_trigger", "text_hit_at_1", "text_base_hit_at_1", "repeated_class_rate"),
    *("repeated_base_rate", "rare_class_accuracy", "score_fpr_at_full_recall", "seconds"),
)
INTERVALS = ("zero_shot_accuracy", "attack_success_rate", "poison_success_rate")
TERMS = (
    *("attack_success_rate", "target_base_rate", "poison_success_rate", "poison_base_rate"),
    *("text_hit_at_1", "text_base_hit_at_1", "repeated_class_rate", "repeated_base_rate"),
    *("zero_shot_accuracy", "score_auroc", "score_recall_at_1_percent"),
)
NOTES = {
    "Success": "Attack success rate, for targeted poisoning poison success rate, for text "
    "backdoors Hit@1, in %; in parentheses the base rate. A natural one has no success: its row is "
    "the share of images that are drawn to the class.",
    "Accuracy": "Zero-shot accuracy in %.",
    "Detection": "AUROC of the score, and recall at 1 % false positives in %.",
    "Over all": "Means over the runs under attacks, in %. The difference is that to plain CLIP's "
    "run with the same attack and seed, with the 95 % interval of its mean.",
}


def line(result: Result) -> str:
    """One run in a few words."""
    rate, base = success(result)
    return (
        f"success {rate:.1%} (base {base:.1%}), accuracy {result['zero_shot_accuracy']:.1%}, "
        f"{result['seconds']:.0f} s"
    )


def write(
    folder: Path, found: Sequence[Result], attacks: Sequence[str], defenses: Sequence[str]
) -> None:
    """Prints the tables of success and of means, and writes `grid.md`, `grid.csv` and `grid.html`.

    Args:
      folder: to write to.
      found: `results.json` of every cell, with `attack`, `defense_name` and `audited`.
      attacks, defenses: rows and columns, in order.
    """
    tables = {
        "Success": _table(found, attacks, defenses, _success_cell),
        "Accuracy": _table(found, attacks, defenses, _accuracy_cell),
        "Detection": _table(found, attacks, defenses, _detection_cell),
        "Over all": overall.rows(found, attacks, defenses),
    }
    weak = too_weak(found, attacks)
    for name in ("Success", "Over all"):
        _print(name, tables[name], defenses)
    if weak:
        console().print(_warning(weak))
    text = "\n\n".join(_markdown(n, NOTES[n], rows, defenses) for n, rows in tables.items())
    atomic_file.write_text(folder / "grid.md", f"{text}\n\n{_footer(found, weak)}\n")
    _write_csv(folder / "grid.csv", found)
    pages.write(
        folder / "grid.html",
        "grid.html",
        tables={name: _marked(rows, weak) for name, rows in tables.items()},
        notes=NOTES,
        defenses=defenses,
        terms=TERMS,
        warning=_warning(weak) if weak else "",
        footer=_footer(found, []),
        plot=plots.bars(found, attacks, defenses),
    )


def _marked(rows: Rows, weak: Sequence[str]) -> Rows:
    """The rows, with those of attacks that are too weak marked."""
    return [[f"⚠ {name}" if name in weak else name, *cells] for name, *cells in rows]


def too_weak(found: Sequence[Result], attacks: Sequence[str]) -> list[str]:
    """Attacks that succeed too rarely against plain CLIP for a defence to be judged by them."""
    weak = []
    for attack in attacks:
        plain = [run for run in found if run["attack"] == attack and overall.is_plain(run)]
        plain = [run for run in plain if not is_natural(run)]
        rates = [success(run)[0] for run in plain]
        if rates and statistics.mean(rates) < JUDGEABLE:
            weak.append(attack)
    return weak


def _table(
    found: Sequence[Result],
    attacks: Sequence[str],
    defenses: Sequence[str],
    cell: Callable[[list[Result]], str],
) -> Rows:
    """Rows of an attack's name and a cell for each defence."""
    rows = []
    for attack in attacks:
        by_defense = [
            [r for r in found if (r["attack"], r["defense_name"]) == (attack, defense)]
            for defense in defenses
        ]
        if any(by_defense):
            rows.append([attack, *(cell(runs) if runs else "–" for runs in by_defense)])
    return rows


def _success_cell(runs: list[Result]) -> str:
    rates, bases = zip(*(success(run) for run in runs), strict=True)
    return f"{_percent(rates)} ({100 * statistics.mean(bases):.1f})"


def _accuracy_cell(runs: list[Result]) -> str:
    return _percent([run["zero_shot_accuracy"] for run in runs])


def _detection_cell(runs: list[Result]) -> str:
    scored = [run for run in runs if run["score_auroc"] is not None]
    if not scored:
        return "–"
    auroc = statistics.mean(run["score_auroc"] for run in scored)
    return f"{auroc:.4f}, {_percent([run['score_recall_at_1_percent'] for run in scored])}"


def _percent(values: Sequence[float]) -> str:
    """Mean and, with several seeds, their standard deviation."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def _print(name: str, rows: Rows, defenses: Sequence[str]) -> None:
    table = Table(title=f"{name}: {NOTES[name]}")
    for column in ("", *defenses):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _warning(weak: Sequence[str]) -> str:
    return (
        f"Too weak to judge a defence by, with success below {JUDGEABLE:.0%} against plain CLIP: "
        f"{', '.join(weak)}. Raise attack.rate, the trigger's strength or the epochs."
    )


def _footer(found: Sequence[Result], weak: Sequence[str]) -> str:
    seconds = sum(run["seconds"] for run in found)
    text = (
        f"{len(found)} runs, {seconds / 3600:.2f} hours of them together. Mean ± standard "
        "deviation over seeds; no spread where there is one seed."
    )
    return f"{text} {_warning(weak)}" if weak else text


def _markdown(name: str, note: str, rows: Rows, defenses: Sequence[str]) -> str:
    lines = [f"**{name}.** {note}", "", f"| {' | '.join(('', *defenses))} |"]
    lines.append("|---" * (len(defenses) + 1) + "|")
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _write_csv(path: Path, found: Sequence[Result]) -> None:
    with atomic_file.writing_text(path) as file:
        writer = csv.writer(file)
        ends = [f"{name}_{end}" for name in INTERVALS for end in ("low", "high")]
        writer.writerow([*COLUMNS, *ends])
        for run in found:
            intervals = [run[f"{name}_interval"] or ("", "") for name in INTERVALS]
            writer.writerow(
                [*(harmless(run.get(c)) for c in COLUMNS), *(v for pair in intervals for v in pair)]
            )
