"""The tables of an audit: all scores, the suspects with reasons, and the pairs to keep."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.auditing.findings import Findings
from safeclip_jax.auditing.subject import Subject
from safeclip_jax.data.sources import table
from safeclip_jax.data.sources.base import Source
from safeclip_jax.data.strings import Chosen
from safeclip_jax.errors import UserError, printable
from safeclip_jax.system import atomic_file
from safeclip_jax.system.csv_cells import harmless

FORMATS = ("csv", "parquet")
_AT_ONCE = 65_536


def write_scores(path: Path, findings: Findings, keys: Sequence[str]) -> None:
    """Every pair's scores, P(does not fit), and pool history; empty cells where there are none."""
    columns: dict[str, Any] = {
        "key": keys,
        "flagged": findings.flagged.astype(int),
        "p_misfit": findings.mismatch.probability,
        **findings.scores,
    }
    if findings.history is not None:
        columns |= {"entered": findings.history.entered, "stayed": findings.history.stayed}
    _write(path, columns, len(keys))


def write_suspects(
    path: Path, findings: Findings, source: Source, order: np.ndarray, reasons: list[list[str]]
) -> None:
    """Some pairs, the most suspicious first, with rank, scores and reasons."""
    columns: dict[str, Any] = {
        "rank": np.arange(1, len(order) + 1),
        "key": [source.keys[int(i)] for i in order],
        "caption": [source.captions[int(i)] for i in order],
        "flagged": findings.flagged[order].astype(int),
        "p_misfit": findings.mismatch.probability[order],
        "reasons": ["; ".join(r) for r in reasons],
        **{name: values[order] for name, values in findings.scores.items()},
    }
    _write(path, columns, len(order))


def write_clean(folder: Path, subject: Subject, keep: np.ndarray) -> Path:
    """The pairs to keep, in the input's own format where it is a table, unpacked and in UTF-8.

    Else a CSV of key, caption and label: keys of WebDataset samples are SHARD/SAMPLE.

    Args:
      folder: to write to.
      subject: of the audit.
      keep: bool [N].

    Returns:
      The file.
    """
    kind, _, path = subject.spec.partition(":")
    source = subject.stored
    if kind in ("csv", "tsv", "jsonl", "parquet"):
        target = folder / f"clean{table.ending(path)}"
        table.copy_rows(path, target, source.places()[keep], subject.columns)
        return target
    kept = np.flatnonzero(keep)
    columns: dict[str, Any] = {
        "key": Chosen(source.keys, kept),
        "caption": Chosen(source.captions, kept),
    }
    if source.labels is not None:
        columns["label"] = [source.class_names[source.labels[i]] for i in kept]
    _write(folder / "clean.csv", columns, len(kept))
    return folder / "clean.csv"


def _write(path: Path, columns: dict[str, Any], rows: int) -> None:
    if path.suffix == ".parquet":
        _write_parquet(path, columns, rows)
        return
    with atomic_file.writing_text(path) as file:
        lines = csv.writer(file)
        lines.writerow(columns)
        for row in range(rows):
            lines.writerow([_cell(values[row]) for values in columns.values()])


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return harmless(value)


def _encodable(values: Any) -> Any:
    """The values, signs of texts that UTF-8 lacks written out; names of files may hold such."""
    if isinstance(values, np.ndarray):
        return values
    return [printable(x) if isinstance(x, str) and not x.isprintable() else x for x in values]


def _write_parquet(path: Path, columns: dict[str, Any], rows: int) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("--format=parquet needs 'pip install pyarrow'") from None
    parts: Iterable = range(0, rows, _AT_ONCE)
    with atomic_file.writing(path) as file:
        writer = None
        for start in parts:
            part = pyarrow.table({
                name: pyarrow.array(_encodable(values[start : start + _AT_ONCE]))
                for name, values in columns.items()
            })  # fmt: skip
            writer = writer or pyarrow.parquet.ParquetWriter(file, part.schema)
            writer.write_table(part)
        if writer is not None:
            writer.close()
