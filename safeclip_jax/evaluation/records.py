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
from safeclip_jax.report import pages, plots
from safeclip_jax.system import atomic_file
from safeclip_jax.system.csv_cells import harmless
from safeclip_jax.system.terminal import console

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
    header, rows = comparison(records)
    atomic_file.write_text(folder / "results.md", _markdown(header, rows))
    shown = Table(*header)
    for row in rows:
        shown.add_row(*row)
    console().print(shown)
    pages.write(
        folder / "report.html",
        "evaluation.html",
        header=header,
        rows=rows,
        plot=plots.comparison(_bars(records)),
        confusions=[
            (f"{r.model} on {r.dataset}", plots.confusion(counts, r.class_names))
            for r in records
            if isinstance(counts := r.metrics.get("confusion"), np.ndarray)
        ],
    )


def comparison(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table: a row a figure, a column a model.

    What was measured on other images, or with other triggers, stands in a row of its own.
    """
    models = list(dict.fromkeys(record.model for record in records))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for record, data in zip(records, _told_apart(records), strict=True):
        cells.setdefault((data, "images"), {})[record.model] = f"{record.images:,}"
        if record.skipped:
            unused = cells.setdefault((data, "records that could not be used"), {})
            unused[record.model] = f"{record.skipped:,}"
        for name, found in record.metrics.items():
            if not isinstance(found, np.ndarray):
                cells.setdefault((data, name), {})[record.model] = _cell(name, found)
    rows = [
        [dataset, name.replace("_", " "), *(found.get(model, "–") for model in models)]
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


def _cell(name: str, found: Share | float | None) -> str:
    if found is None:
        return "–"
    if isinstance(found, Share):
        low, high = found.interval
        return f"{found.value:.1%} ({low:.1%} to {high:.1%})"
    return f"{found:.3g}" if name == "linear_probe_C" else f"{found:.1%}"


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


def _bars(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """For each figure that is a share, its value by model."""
    found: dict[str, dict[str, float]] = {}
    for record in records:
        for name, value in record.metrics.items():
            if isinstance(value, Share):
                place = f"{record.dataset}: {name.replace('_', ' ')}"
                found.setdefault(place, {})[record.model] = value.value
    return found


def _as_name(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^\w.@-]+", "-", text).strip("-.") or "x"
