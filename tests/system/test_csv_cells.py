"""No text in a CSV file of ours is a formula, and all are read back as they were."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeclip_jax.attacks.export import CsvWriter
from safeclip_jax.auditing import tables
from safeclip_jax.data import left_out
from safeclip_jax.data.sources.base import Columns
from safeclip_jax.data.sources.table import Table
from safeclip_jax.evaluation.records import Record, _csv
from safeclip_jax.grid import report
from safeclip_jax.system.csv_cells import harmless, original
from tests.support.made_up_pairs import Pairs

FORMULAS = ['=HYPERLINK("http://x","y")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-1"]
RUNS = ("=", "+", "-", "@", "\t", "\r")


@given(st.text())
def test_every_text_comes_back(text):
    assert original(harmless(text)) == text and not harmless(text).startswith(RUNS)


@pytest.mark.parametrize("value", [-1, -0.5, None, True])
def test_numbers_stay_numbers(value):
    assert harmless(value) is value


def cells(path):
    with path.open(newline="", encoding="utf-8", errors="surrogatepass") as file:
        return [cell for row in csv.reader(file) for cell in row]


def is_number(cell):
    try:
        return float(cell) is not None
    except ValueError:
        return False


def check(path):
    found = cells(path)
    assert not [cell for cell in found if cell.startswith(RUNS) and not is_number(cell)]
    return {original(cell) for cell in found}


@pytest.mark.parametrize("text", FORMULAS)
def test_poisoned_pairs(tmp_path, text):
    writer = CsvWriter(tmp_path)
    writer.add(0, b"\x89PNG", text, text, text)
    writer.close()
    assert text in check(tmp_path / "train.csv")
    source = Table(str(tmp_path / "train.csv"), label_column="label")
    assert source.captions[0] == text and source.class_names == [text.strip()]


@pytest.mark.parametrize("text", FORMULAS)
def test_scores_are_read_back(tmp_path, text):
    path = tmp_path / "scores.csv"
    tables._write(path, {"key": [text, "b"], "flagged": np.array([1, 0])}, 2)
    assert text in check(path)
    source = Pairs(["a", "b"], np.zeros(2, int), np.zeros(0), np.arange(2), 0)
    source.keys = [text, "b"]
    assert left_out.read(str(path), source).tolist() == [0]


@pytest.mark.parametrize("text", FORMULAS)
def test_figures_and_grids(tmp_path, text):
    record = Record(text, text, text, text, {text: 0.5, "b": -0.5})
    (tmp_path / "results.csv").write_text(_csv([record]), newline="")
    assert text in check(tmp_path / "results.csv")
    run = dict.fromkeys(report.COLUMNS, -1.0) | {"attack": text, "defense_name": text}
    report._write_csv(tmp_path / "grid.csv", [run | {f"{n}_interval": None for n in run}])
    assert text in check(tmp_path / "grid.csv")


KEYS = ["caf\udce9.png", "\ud800", "a\x1b[2J", "[/x]", "\u202e"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_are_no_utf_8_are_written_and_read_back(tmp_path, key):
    columns = {"key": [key, "b"], "flagged": np.array([1, 0])}
    tables._write(tmp_path / "scores.csv", columns, 2)
    source = Pairs(["a", "b"], np.zeros(2, int), np.zeros(0), np.arange(2), 0)
    source.keys = [key, "b"]
    assert left_out.read(str(tmp_path / "scores.csv"), source).tolist() == [0]
    tables._write(tmp_path / "scores.parquet", columns, 2)
    writer = CsvWriter(tmp_path)
    writer.add(0, b"\x89PNG", "words", key, "")
    writer.close()
    assert key in cells(tmp_path / "train.csv")


def test_a_class_name_that_is_no_unicode_is_rejected(tmp_path):
    from safeclip_jax.data.sources.columns import ColumnsBuilder

    builder = ColumnsBuilder(labelled=True)
    reasons = []
    for label in ("caf\udce9", "a\0", " ", None, "x" * 20_000, "nan"):
        builder.add("key", "words", label)
    found = builder.build()
    reasons = [record.reason for record in found.rejected]
    assert isinstance(found, Columns) and len(found.keys) == 0 and len(reasons) == 6
    assert all(reason.startswith("label") for reason in reasons)
