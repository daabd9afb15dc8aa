"""Tables as people have them: headers, quotes, encodings, images inside. Nothing is lost."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeclip_jax.data.sources.table import Table, copy_rows
from safeclip_jax.errors import UserError


def table(folder, text, name="t.csv", encoding="utf-8", **options):
    content = text.encode(encoding)
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return Table(str(path), **options)


@pytest.mark.parametrize(
    "text, options",
    [
        ("filepath , Title\na.png,words\n", {}),
        ("Image,CAPTION\na.png,words\n", {}),
        ("sep=;\nimage;caption\na.png;words\n", {}),
        ("words\ta.png\n", {"columns_of": "caption,image"}),
        ("image_name| comment_number| comment\na.png|0|words\n", {}),
    ],
)
def test_headers(tmp_path, text, options):
    source = table(tmp_path, text, **options)
    assert list(source.keys) == ["a.png"] and list(source.captions) == ["words"]


@pytest.mark.parametrize("name, encoding", [("t.csv.gz", "utf-8"), ("t.csv", "utf-16")])
def test_compressed_and_utf_16(tmp_path, name, encoding):
    source = table(tmp_path, "image,caption\na.png,é\nb.png,\U0001f600\n", name, encoding)
    assert list(source.captions) == ["é", "\U0001f600"]


def test_quotes_that_quote_nothing(tmp_path):
    rows = ['"Hello" said the sign', '"no end', "a cat", 'a 6" nail', '"quoted"', 'end"']
    text = "image\tcaption\n" + "".join(f"{i}.png\t{row}\n" for i, row in enumerate(rows))
    source = table(tmp_path, text, "t.tsv")
    assert list(source.captions) == [*rows[:4], "quoted", 'end"'] and not source.rejected


def test_paths_below_the_root_are_read_and_urls_are_explained(tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    text = f"image,caption\n{tmp_path}/a.png,words\n/etc/a.png,w\nhttp://x/a.png,w\n"
    source = table(tmp_path, text)
    assert source.image(0) == b"a"
    reasons = [record.reason for record in source.rejected]
    assert "data.images" in reasons[0] and "download first" in reasons[1]
    (tmp_path / "below").mkdir()
    moved = table(tmp_path / "below", text, images=str(tmp_path))
    assert moved.image(0) == b"a" and len(moved.rejected) == 2


@pytest.mark.parametrize("column", ["jpg", "image"])
@pytest.mark.parametrize("name", ["t.parquet", "t.pq"])
def test_images_inside_parquet(tmp_path, name, column):
    images = [b"one", b"two", None] if column == "jpg" else [{"bytes": b"one", "path": "x"}] * 3
    made = pa.table({column: images, "caption": ["a", "b", "c"]})
    parquet.write_table(made, tmp_path / name, row_group_size=2)
    source = Table(str(tmp_path / name))
    assert list(source.captions) == ["a", "b", "c"] and source.image(0) == b"one"


def test_a_damaged_byte_anywhere_in_parquet_is_one_line(tmp_path):
    path, target = tmp_path / "pairs.parquet", tmp_path / "copy.parquet"
    rows = {"image": ["a.png", "b.png"], "caption": ["one", "two"], "place": ["x", "y"]}
    parquet.write_table(pa.table(rows), path)
    good, refused = path.read_bytes(), 0
    for place in range(len(good)):
        path.write_bytes(good[:place] + b"\x80" + good[place + 1 :])
        try:
            Table(str(path))
            copy_rows(str(path), target, np.arange(2))
        except UserError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 100


def test_blanks_around_names_separators_at_ends_and_old_macs_lines(tmp_path):
    blanks = table(tmp_path, "filepath , title\n0.png , a dog\n")
    assert list(blanks.keys) == ["0.png"] and blanks.captions[0].strip() == "a dog"
    ends = table(tmp_path, "image,caption\n0.png,a dog,,\n1.png,a cat, sitting\n")
    assert list(ends.captions) == ["a dog"] and ends.rejected[0].key == "line 3"
    macs = table(tmp_path, "image,caption\r0.png,a dog\r1.png,a cat\r")
    assert list(macs.captions) == ["a dog", "a cat"]


CELLS = st.text('ab"\t,é ', min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=8))
def test_every_line_is_a_pair_or_listed_and_none_twice(captions):
    with tempfile.TemporaryDirectory() as folder:
        text = "image\tcaption\n" + "".join(f"{i}.png\t{c}\n" for i, c in enumerate(captions))
        source = table(Path(folder), text, "t.tsv")
        listed = {int(record.key.split()[1]) - 2 for record in source.rejected}
        used = [int(key.partition(".")[0]) for key in source.keys]
        assert len(set(used)) == len(used) and not listed & set(used)
        assert listed | set(used) == set(range(len(captions)))


def test_rows_of_a_packed_table_without_a_header_are_copied(tmp_path):
    path, target = tmp_path / "pairs.tsv.gz", tmp_path / "clean.tsv"
    path.write_bytes(gzip.compress(b"a red heart\t0.png\na blue ring\t1.png\nstars\t2.png\n"))
    copy_rows(str(path), target, np.array([0, 2]), "caption,image")
    assert target.read_text().split() == ["a", "red", "heart", "0.png", "stars", "2.png"]
    copied = Table(str(target), columns_of="caption,image")
    assert list(copied.captions) == ["a red heart", "stars"]
