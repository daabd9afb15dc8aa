"""Tables that are small on the disk and huge in memory, or no tables."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from safeclip_jax.data.sources import parquet_table, text_table
from safeclip_jax.data.sources.table import Table
from tests.support.bounded import outcome

BIG = "x" * 1_000_000


def write(path, caption, rows, **options):
    images = pa.array(["a.png"] * rows)
    parquet.write_table(pa.table({"image": images, "caption": caption}), path, **options)
    return path


def repeated(rows):
    """The same megabyte in each row, which is in the file once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([BIG]))


def test_gigabytes_of_one_text_are_read_as_one_text(tmp_path):
    path = write(tmp_path / "a.parquet", repeated(2000), 2000)
    assert path.stat().st_size < 60_000
    source = outcome(lambda: Table(str(path)))
    assert len(source) == 0 and len(source.rejected) == 2000
    assert "1000000 characters is longer" in source.rejected[0].reason


def test_a_column_that_unpacks_to_more_than_it_may_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_table, "_MAX_COLUMN", 2**24)
    path = tmp_path / "a.parquet"
    write(path, pa.array([BIG] * 40), 40, use_dictionary=False, compression="zstd")
    assert "column 'caption' has 40000" in outcome(lambda: Table(str(path)))


def test_two_columns_of_one_name_are_refused(tmp_path):
    names = ["image", "caption", "caption"]
    made = pa.Table.from_arrays([pa.array(["a.png"])] * 3, names=names)
    parquet.write_table(made, tmp_path / "a.parquet")
    assert "two columns of one name" in outcome(lambda: Table(str(tmp_path / "a.parquet")))


def test_columns_that_nobody_asked_for_are_not_read(tmp_path):
    content = {"image": ["a.png"] * 2, "caption": ["one", "two"], "other": [BIG, BIG]}
    parquet.write_table(pa.table(content), tmp_path / "a.parquet", compression="zstd")
    assert list(Table(str(tmp_path / "a.parquet")).captions) == ["one", "two"]


@pytest.mark.parametrize(
    "caption, word",
    [
        ([1] * 1000, "list"),
        ({"a": 1}, "dict"),
        (b"\xff\xfe", "bytes"),
        (None, "missing"),
        (1, "int"),
        (True, "bool"),
        (float("nan"), "missing"),
        ("a\0b", "NUL"),
        (" ", "empty"),
        ("null", "empty"),
        (" " * 20_000, "longer"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_captions_that_are_no_text_are_rejected(tmp_path, caption, word):
    path = write(tmp_path / "a.parquet", pa.array([caption] * 3), 3)
    source = outcome(lambda: Table(str(path)))
    assert len(source) == 0 and all(word in record.reason for record in source.rejected)


GOOD = b"image,caption\na.png,words\n"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"PAR1", b"PAR1" + b"x" * 100 + b"\xff\xff\xff\x7fPAR1", b"PAR1\0\0\0\0PAR1"),
        *(b"x" * 1000, GOOD, b"\0" * 5000),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_parquet_is_one_line(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    assert "is no Parquet file" in outcome(lambda: Table(str(tmp_path / "a.parquet")))


def test_a_line_without_an_end_fills_no_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(GOOD + b"b.png,")
        file.truncate(2**33)  # zeros, which take no room on the disk
        file.seek(0, 2)
    taken = text_table._MAX_LINE
    monkeypatch.setattr(text_table, "_unpacked", lambda _: _Head(path.open("rb"), 4 * taken))
    lines = text_table.read_lines(str(path))
    found = outcome(lambda: list(lines))
    assert found[:2] == GOOD.splitlines(keepends=True) and [len(x) for x in found[2:]] == [taken]


class _Head(io.RawIOBase):
    """The first bytes of a file."""

    def __init__(self, file, size):
        self.file, self.left = file, size

    def readable(self):
        return True

    def readinto(self, buffer):
        found = self.file.read(min(len(buffer), self.left))
        self.left -= len(found)
        buffer[: len(found)] = found
        return len(found)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "no column of images"),
        (b"\n", "no column of images"),
        (b"\0" * 100, "no column of images"),
        (b"\xff\xfe" + "image,caption\n".encode("utf-16-le"), "holds no pairs"),
        (b'"image,caption\n', "no column|no header"),
        (b"image\n", "no column of captions"),
        (b"image,caption\n", "holds no pairs"),
        (b"image,caption\n\n\n\n", "holds no pairs"),
        (b"i" * 3_000_000, "no header"),
    ],
    ids=lambda content: repr(content[:16]),
)
def test_what_is_no_table_is_one_line(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    found = outcome(lambda: Table(str(tmp_path / "a.csv")))
    assert any(word in found for word in words.split("|"))


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"b.png," + b"x" * 3_000_000, "longer than 10000"),
        (b'b.png,"' + b"x" * 3_000_000 + b'"', "never closes|quotes|longer"),
        (b"b" * 3_000_000 + b".png,words", "1 fields"),
        (b",words", "image"),
        (b"b.png,\x1b[2J\0", "NUL"),
        (b"b.png,," + b'"' * 1001, "never closes|quotes|longer|empty"),
        (b"b.png," + b"," * 100_000, "caption is empty"),
        (b"b.png,\xed\xa0\x80", "UTF-8"),
    ],
    ids=lambda line: repr(line[:16]),
)
def test_a_hostile_line_costs_itself_alone(tmp_path, line, reason):
    (tmp_path / "a.csv").write_bytes(GOOD + line + b"\nc.png,more words\n")
    source = outcome(lambda: Table(str(tmp_path / "a.csv")))
    assert list(source.captions) == ["words", "more words"]
    assert any(word in source.rejected[0].reason for word in reason.split("|"))
