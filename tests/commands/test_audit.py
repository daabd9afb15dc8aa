"""The auditor's command: what it reads, what it writes, and what it says when it cannot."""

import csv
import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from safeclip_jax.auditing import detectors, subject, vectors
from safeclip_jax.commands import audit as command
from safeclip_jax.errors import Outage, UserError
from safeclip_jax.evaluation.embedding import Reading
from safeclip_jax.training import loop
from tests.support import browser, every_stage
from tests.support.data_files import scene_files, write_csv
from tests.support.untrained import untrained

PAIRS = 240


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for key, image, caption, label in scene_files(PAIRS, size=32):
        (folder / f"{key}.jpg").write_bytes(image)
        rows.append((f"{key}.jpg", caption, label, f"=note {key}"))
    (folder / "broken.jpg").write_bytes(b"no image")
    rows.insert(3, ("broken.jpg", "a <script>alert(1)</script> picture", "heart", ""))
    rows.insert(9, ("00009.jpg", "", "heart", "no caption"))
    return write_csv(folder, rows, ("image", "caption", "label", "note"), delimiter=";")


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    config = every_stage.get_config(table)
    config.data.label_column, config.attack.count = "label", 12
    folder = tmp_path_factory.mktemp("runs") / "small"
    untrained(config, folder)
    return folder


def audit(*arguments):
    assert command.main([*map(str, arguments), "--batch", "64"]) == 0


@pytest.fixture(scope="module")
def audited(run):
    audit("--run", run, "--own-data", "--suspects", 150)
    return run / "audit"


def rows(path, delimiter=","):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_a_run_is_audited_with_its_pools_and_its_truth(audited, capsys):
    scores = rows(audited / "scores.csv")
    assert len(scores) == PAIRS + 1
    (broken,) = [row for row in scores if row["key"] == "broken.jpg"]
    assert broken["similarity"] == broken["combined"] == "" and broken["flagged"] == "0"
    suspects = rows(audited / "suspects.csv")
    assert [int(row["rank"]) for row in suspects] == list(range(1, 151))
    values = [float(row["combined"]) for row in suspects]
    assert values == sorted(values, reverse=True)
    assert {"entered", "stayed", "history", *detectors.DETECTORS} <= set(scores[0])
    data = browser.data(audited / "audit.html")
    assert data["shown"] == 150 and data["epochs"] == [3, 4]
    assert sum(p.get("x", 0) for p in data["pairs"]) > 0
    assert "AUROC" in (audited / "audit.html").read_text()


def test_the_page_holds_no_markup_of_the_data_and_loads_nothing(audited):
    text = (audited / "audit.html").read_text()
    assert "<script>alert" not in text and "\\u003cscript" not in text.split('id="data"')[0]
    assert "broken.jpg" in text and "not an image" in text
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|url\(\s*["']?http|@import""", text)


def test_clean_csv_has_the_input_s_own_columns_and_separator(audited, table):
    kept = rows(audited / "clean.csv", ";")
    scores = {row["key"]: row for row in rows(audited / "scores.csv")}
    assert list(kept[0]) == ["image", "caption", "label", "note"]
    expected = [key for key, row in scores.items() if row["flagged"] == "0" and row["similarity"]]
    assert [row["image"] for row in kept] == expected
    assert kept[0]["note"] == "=note 00000"


def test_another_model_and_parquet(run, table, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from pyarrow import csv as pyarrow_csv

    source = pyarrow_csv.read_csv(table, parse_options=pyarrow_csv.ParseOptions(delimiter=";"))
    path, out = tmp_path / "pairs.parquet", tmp_path / "out"
    parquet.write_table(source, path, row_group_size=50)
    for file in Path(table).parent.glob("*.jpg"):
        shutil.copy(file, tmp_path)
    audit("--data", f"parquet:{path}", "--checkpoint", run, "--out", out, "--format", "parquet")
    kept = parquet.read_table(out / "clean.parquet")
    scores = parquet.read_table(out / "scores.parquet").to_pylist()
    assert kept.schema.equals(source.schema)
    good = [s["key"] for s in scores if not s["flagged"] and np.isfinite(s["similarity"])]
    assert kept["image"].to_pylist() == good
    assert "AUROC" not in (out / "audit.html").read_text()


def test_a_stopped_audit_goes_on(run, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "AT_ONCE", 100)
    audited = subject.of_run(run)
    images = vectors.Embedding.images
    calls: list[int] = []

    def stops(self, source, trigger=None):
        calls.append(len(source))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return images(self, source, trigger)

    def compute(folder):
        reading = Reading(64, audited.model.config.image.image_size)
        return vectors.compute(audited.model, audited.pairs, folder, reading, lambda d, n: None)

    monkeypatch.setattr(vectors.Embedding, "images", stops)
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path / "a")
    found, skipped = compute(tmp_path / "a")
    assert calls == [100, 100, 41, 41] and list(skipped) == [3]
    whole, _ = compute(tmp_path / "b")
    for name in ("images", "texts", "usable"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    file = tmp_path / "a/images.npy"
    file.write_bytes(file.read_bytes()[:-100])
    again, _ = compute(tmp_path / "a")
    assert len(calls) == 10
    np.testing.assert_array_equal(again.images, whole.images)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Outage, match="No space left on device; choose another --out"):
        compute(tmp_path / "c")
    assert not list((tmp_path / "c").glob("*.npy"))
    monkeypatch.undo()
    monkeypatch.setattr(vectors, "AT_ONCE", 100)
    monkeypatch.setattr(vectors.Embedding, "images", stops)
    audited.pairs.captions = [*audited.pairs.captions[:-1], "another caption"]
    compute(tmp_path / "a")
    assert len(calls) == 13


def test_without_a_model_one_is_trained(table, tmp_path, monkeypatch):
    trained = []

    def instead(config, folder):
        trained.append(config)
        untrained(config, folder)

    monkeypatch.setattr(loop, "run", instead)
    config = tmp_path / "own.py"
    config.write_text(
        "from tests.support import every_stage\n"
        "def get_config():\n    c = every_stage.get_config('other')\n"
        "    c.evaluate.source = ''\n    return c\n"
    )
    out = tmp_path / "out"
    audit("--data", f"csv:{table}", "--config", config, "--label-column", "label", "--out", out)
    assert trained[0].data.source == f"csv:{table}" and trained[0].data.label_column == "label"
    assert "stayed" in rows(out / "scores.csv")[0]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ((), "either --run FOLDER or --data KIND:PATH"),
        (("--run", "{tmp}"), "no run of ours"),
        (("--data", "csv:nothing.csv", "--checkpoint", "{run}"), "nothing.csv is not there"),
        (("--data", "csv:{table}", "--config", "no.py"), "--config=no.py does not exist"),
        (("--run", "{run}", "--suspects", "0"), "--suspects=0: at least 1"),
        (("--run", "{run}", "--own-data", "--out", "{tmp}/a", "--max-skipped-share", "0"),
         "more than --max-"),
        (("--data", "scenes", "--pairs", "50", "--checkpoint", "{run}", "--out", "{tmp}/b"),
         "an audit needs at least 100 pairs"),
    ],
)  # fmt: skip
def test_what_cannot_be_audited_is_one_line(arguments, expected, run, table, tmp_path):
    filled = [a.format(tmp=tmp_path, run=run, table=table) for a in arguments]
    with pytest.raises(UserError, match="(?s)" + expected.replace(".", r"\.")) as error:
        audit(*filled)
    assert "\n" not in str(error.value)


@browser.needed
def test_the_page_is_used_with_the_keyboard(audited, tmp_path):
    seen = browser.use(audited / "audit.html", tmp_path)
    assert seen["first"] == 48 and seen["place"].startswith("1 / 4 (150 pairs)")
    assert seen["second"].startswith("2 / 4") and seen["focus"] == "query"
    assert 0 < seen["hearts"] < 150 and seen["allHearts"] and seen["sorted"] and seen["marked"]
    assert seen["card"] and seen["open"] and seen["other"] and seen["closed"]
    assert seen["figures"] > 0
