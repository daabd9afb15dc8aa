"""The figures of evaluations on disk and on the terminal: JSON, CSV, Markdown and HTML."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from safeclip_jax.evaluation.share import Share
from safeclip_jax.evaluation.task import Metrics
from safeclip_jax.report import confusion, glossary, pages
from safeclip_jax.system import atomic_file
from safeclip_jax.system.csv_cells import harmless
from safeclip_jax.system.terminal import console

Cell = tuple[str, float | None]  # the text, and the share in [0, 1] if it is one
_NONE: Cell = ("–", None)
# Names of the tasks and figures in CLIP_benchmark, whose tools read such files.
TASKS = {"zero_shot": "zeroshot_classification", "retrieval": "zeroshot_retrieval"}
METRICS = {
    "zero_shot_accuracy": "acc1",
    "zero_shot_accuracy_top5": "acc5",
    "linear_probe_accuracy": "lp_acc1",
    "linear_probe_mean_per_class_recall": "lp_mean_per_class_recall",
    **{
        f"{kind}_recall_at_{k}": f"{kind}_retrieval_recall@{k}"
        for kind in ("image", "text")
        for k in (1, 5, 10)
    },
}


@dataclass(frozen=True)
class Record:
    """One task on one data set with one model.

    Attributes:
      model: its name.
      origin: where it was read.
      dataset: its name.
      task: its name.
      metrics: see `task.Task`.
      class_names: of the data set.
      skipped: its records that could not be used.
      images: how many it has, with those that could not be used.
      measured: what was measured, as a digest: the images and, of an attack, its triggers.
    """

    model: str
    origin: str
    dataset: str
    task: str
    metrics: Metrics
    class_names: Sequence[str] = ()
    skipped: int = 0
    images: int = 0
    measured: str = ""

    def as_json(self) -> dict:
        """With CLIP_benchmark's fields and names; counts and intervals of shares beside them."""
        values: dict[str, object] = {}
        shares: dict[str, dict] = {}
        for name, found in self.metrics.items():
            name = METRICS.get(name, name)
            if isinstance(found, Share):
                values[name] = found.value
                shares[name] = {"count": found.count, "of": found.of, "interval": found.interval}
            elif isinstance(found, np.ndarray):
                values[name] = found.tolist()
            else:
                values[name] = found
        return {
            "dataset": self.dataset,
            "model": self.model,
            "pretrained": self.origin,
            "task": TASKS.get(self.task, self.task),
            "language": "en",
            "metrics": values,
            "counts": shares,
            "skipped": self.skipped,
            "images": self.images,
            "measured": self.measured,
            "classes": list(self.class_names),
        }


def write(folder: Path, records: Sequence[Record]) -> None:
    """Prints a table that compares the models; writes it and each record.

    Args:
      folder: of `MODEL_DATASET_TASK.json`, `results.csv`, `results.md` and `report.html`; made
        if it is not there.
      records: in the order to be shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        name = "_".join(map(_as_name, (record.model, record.dataset, record.task)))
        atomic_file.write_text(
            folder / f"{name}.json", json.dumps(record.as_json(), indent=1) + "\n"
        )
    atomic_file.write_text(folder / "results.csv", _csv(records))
    header, found = comparison(records)
    rows = [[text for text, _ in row] for row in found]
    atomic_file.write_text(folder / "results.md", _markdown(header, rows))
    shown = Table(*header)
    for row in rows:
        shown.add_row(*row)
    console().print(shown)
    pages.write(
        folder / "report.html",
        "evaluation.html",
        header=header,
        rows=found,
        terms=list(dict.fromkeys(n for r in records for n in r.metrics if glossary.meaning(n))),
        confusions=[
            (f"{r.model} on {r.dataset}", confusion.of(counts, r.class_names))
            for r in records
            if isinstance(counts := r.metrics.get("confusion"), np.ndarray)
        ],
    )


def comparison(records: Sequence[Record]) -> tuple[list[str], list[list[Cell]]]:
    """Header and rows of a table: a row a figure, a column a model.

    What was measured on other images, or with other triggers, stands in a row of its own.
    """
    models = list(dict.fromkeys(record.model for record in records))
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    for record, data in zip(records, _told_apart(records), strict=True):
        cells.setdefault((data, "images"), {})[record.model] = f"{record.images:,}", None
        if record.skipped:
            unused = cells.setdefault((data, "skipped_records"), {})
            unused[record.model] = f"{record.skipped:,}", None
        for name, found in record.metrics.items():
            if not isinstance(found, np.ndarray):
                cells.setdefault((data, name), {})[record.model] = _cell(name, found)
    rows = [
        [(dataset, None), (glossary.name(name), None), *(found.get(m, _NONE) for m in models)]
        for (dataset, name), found in cells.items()
    ]
    return ["data", "figure", *models], rows


def _told_apart(records: Sequence[Record]) -> list[str]:
    """The data set of each record, with a mark where others of its task measured other things."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for record in records:
        kinds.setdefault((record.dataset, record.task), set()).add(record.measured)
    return [
        f"{r.dataset} ({r.measured[:6]})" if len(kinds[r.dataset, r.task]) > 1 else r.dataset
        for r in records
    ]


def _cell(name: str, found: Share | float | None) -> Cell:
    if found is None:
        return _NONE
    if isinstance(found, Share):
        low, high = found.interval
        return f"{found.value:.1%} ({low:.1%} to {high:.1%})", found.value
    return (f"{found:.3g}", None) if name == "linear_probe_C" else (f"{found:.1%}", found)


def _csv(records: Sequence[Record]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("dataset", "model", "pretrained", "task", "figure", "value", "count", "of"))
    for record in records:
        for name, found in record.metrics.items():
            row = [record.dataset, record.model, record.origin, record.task, name]
            if isinstance(found, Share):
                writer.writerow([*map(harmless, row), found.value, found.count, found.of])
            elif isinstance(found, float):
                writer.writerow([*map(harmless, row), found, "", ""])
    return buffer.getvalue()


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(c.replace('|', '∣') for c in line)} |\n" for line in lines)


def _as_name(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^\w.@-]+", "-", text).strip("-.") or "x"
