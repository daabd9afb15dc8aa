"""Layouts of others: many Parquet files, JSON Lines, folders of Hugging Face and img2dataset.

Each property test puts records in, and every one must come out as a pair or in the list, once.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.data.sources.samples import grouped
from safeclip_jax.data.sources.table import Table, copy_rows
from safeclip_jax.data.sources.tfds import _version
from safeclip_jax.errors import BadRecord, UserError


def open_(spec, **options):
    return open_source(spec, SourceOptions(**options))


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def two_files(folder, second=None):
    """Three images in two files, the second with groups of rows of its own."""
    parquet.write_table(
        pa.table({"jpg": [b"0", b"1"], "caption": ["a", "b"]}), folder / "0.parquet"
    )
    table = pa.table(second or {"jpg": [b"2"], "caption": ["c"]})
    parquet.write_table(table, folder / "1.parquet", row_group_size=1)


@pytest.mark.parametrize("where", ["", "/*.parquet", "/{0..1}.parquet"])
def test_many_parquet_files_are_one_table(tmp_path, where):
    two_files(tmp_path)
    source = open_(f"parquet:{tmp_path}{where}")
    assert list(source.captions) == ["a", "b", "c"]
    assert [source.image(i) for i in (2, 0, 1)] == [b"2", b"0", b"1"]
    assert list(source.keys) == ["0.parquet row 1", "0.parquet row 2", "1.parquet row 1"]
    copy_rows(f"{tmp_path}{where}", tmp_path / "clean.pq", np.array([0, 2]))
    assert parquet.read_table(tmp_path / "clean.pq")["caption"].to_pylist() == ["a", "c"]


def test_a_parquet_file_of_another_shape_among_many_is_named(tmp_path):
    two_files(tmp_path, {"jpg": [b"2"], "title": ["c"]})
    with pytest.raises(UserError, match=r"1\.parquet lacks the column 'caption'"):
        open_(f"parquet:{tmp_path}")


def test_json_lines_are_a_table(tmp_path):
    lines = ['{"file_name": "0.png", "text": "a"}', "", '{"file_name": "1.png"}', "[1]", "{"]
    path = written(tmp_path / "pairs.jsonl", "\n".join(lines))
    source = open_(f"jsonl:{path}")
    assert list(source.captions) == ["a"] and list(source.keys) == ["0.png"]
    reasons = {record.key: record.reason for record in source.rejected}
    assert reasons.keys() == {"line 3", "line 4", "line 5"}
    copy_rows(str(path), tmp_path / "clean.jsonl", np.array([0]))
    assert (tmp_path / "clean.jsonl").read_text() == lines[0] + "\n"


@pytest.mark.parametrize(
    "name, content",
    [
        ("metadata.csv", "file_name,text\n0.png,a red heart\n"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": "a red heart"}\n'),
    ],
)
def test_a_folder_of_hugging_face_has_its_captions_in_metadata(tmp_path, name, content):
    written(tmp_path / name, content)
    written(tmp_path / "0.png", b"image")
    source = open_(f"folder:{tmp_path}")
    assert list(source.captions) == ["a red heart"] and source.image(0) == b"image"


def test_files_of_img2dataset_are_pairs(tmp_path):
    for number in (0, 1):
        stem = tmp_path / "00000" / f"00000000{number}"
        written(stem.with_suffix(".JPG"), f"image {number}")
        written(stem.with_suffix(".txt"), f"caption {number}")
        written(stem.with_suffix(".json"), json.dumps({"caption": "other", "label": number}))
    written(tmp_path / "00001" / "1.jpg", "image 2")
    written(tmp_path / "00001" / "1.json", json.dumps({"caption": "of json", "label": 5}))
    written(tmp_path / "00001" / "2.json", "{}")
    written(tmp_path / "00000_stats.json", "{}")
    written(tmp_path / "@eaDir" / "0.jpg", "stray")
    source = open_(f"folder:{tmp_path}", label_column="label")
    assert list(source.captions) == ["caption 0", "caption 1", "of json"]
    assert [source.image(i) for i in range(3)] == [b"image 0", b"image 1", b"image 2"]
    assert [source.class_names[label] for label in source.labels] == ["0", "1", "5"]
    assert [record.key for record in source.rejected] == ["00001/2"]


def test_annotations_beside_images_are_no_captions_and_broken_links_are_listed(tmp_path):
    written(tmp_path / "heart" / "0.png", "image")
    written(tmp_path / "heart" / "0.json", '{"box": [1, 2]}')
    assert open_(f"folder:{tmp_path}").class_names == ["heart"]
    written(tmp_path / "heart" / "1.png", "image")
    written(tmp_path / "heart" / "1.txt", "a heart")
    (tmp_path / "heart" / "2.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "heart" / "2.txt").symlink_to("/etc/hostname")
    source = open_(f"folder:{tmp_path}")
    assert list(source.keys) == ["heart/1"]
    assert {record.key for record in source.rejected} == {"heart/0", "heart/2"}


def test_images_beside_class_folders_are_listed(tmp_path):
    written(tmp_path / "heart" / "0.png", "image")
    written(tmp_path / "0.png", "image")
    source = open_(f"folder:{tmp_path}")
    assert list(source.keys) == ["heart/0.png"] and source.rejected[0].key == "0.png"


def test_a_table_of_images_and_labels_has_captions_of_its_classes(tmp_path):
    path = written(
        tmp_path / "labels.csv", "image,label\n0.jpg,sea_lion\n1.jpg, \n2.jpg,sea lion\n"
    )
    source = open_(f"csv:{path}", label_column="label")
    assert source.class_names == ["sea lion"] and list(source.keys) == ["0.jpg", "2.jpg"]
    assert all(caption.endswith("sea lion") for caption in source.captions)
    assert source.rejected[0].reason == "label is missing"
    with pytest.raises(UserError, match="column of captions"):
        open_(f"csv:{path}")


def test_whole_numbers_stay_whole_beside_gaps(tmp_path):
    table = pa.table({"image": ["a", "b", "c"], "caption": ["x"] * 3, "label": [3.0, None, 10.0]})
    parquet.write_table(table, tmp_path / "t.parquet")
    source = Table(str(tmp_path / "t.parquet"), label_column="label")
    assert source.class_names == ["10", "3"] and len(source.rejected) == 1


def test_versions_are_ordered_by_number():
    names = ["9.0.0", "10.0.0", "1.20.3"]
    assert max((Path("d", name) for name in names), key=_version).name == "10.0.0"


TEXTS = st.one_of(st.none(), st.text("ab \n\0", max_size=4), st.lists(st.text("ab ", max_size=3)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=6))
def test_every_file_of_a_folder_is_used_or_listed(samples):
    """Of a caption beside it, one in its JSON, or without an image; or without either."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder / "x" / "whole.png", "image")
        written(folder / "x" / "whole.txt", "caption")
        for number, (text, of_json, has_image) in enumerate(samples):
            stem = folder / "x" / str(number)
            written(stem.with_suffix(".json"), json.dumps({"caption": of_json}))
            if isinstance(text, str):
                written(stem.with_suffix(".txt"), text)
            if has_image:
                written(stem.with_suffix(".png"), "image")
        source = open_(f"folder:{folder}")
        used = {key.split("-")[0] for key in source.keys}
        listed = {record.key.split("-")[0] for record in source.rejected}
        assert used | listed == {"x/whole", *(f"x/{n}" for n in range(len(samples)))}
        assert len(set(source.keys)) == len(source.keys)
        without = {f"x/{n}" for n, sample in enumerate(samples) if not sample[2]}
        assert without <= listed and not without & used


LABELS = st.one_of(st.none(), st.sampled_from(["a", "a_b", "a b", " a", "nan", "", "NaN"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=8))
def test_every_label_is_a_class_or_listed(labels):
    with tempfile.TemporaryDirectory() as name:
        rows = [
            {"image": f"{n}.png", "caption": "x", "label": label} for n, label in enumerate(labels)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        source = open_(f"jsonl:{written(Path(name) / 't.jsonl', text)}", label_column="label")
        right = {
            n: label.strip().replace("_", " ")
            for n, label in enumerate(labels)
            if label and label.lower() != "nan"
        }
        found = (
            {}
            if source.labels is None
            else {
                int(key.split(".")[0]): source.class_names[label]
                for key, label in zip(source.keys, source.labels, strict=True)
            }
        )
        assert found == right and len(source.rejected) == len(labels) - len(right)


class Member:
    def __init__(self, name):
        self.name, self.size = name, 1


def test_ten_thousand_two_part_names_are_grouped_at_once():
    names = [f"{n}.{part}" for n in range(10_000) for part in ("input.jpg", "output.txt")]
    samples, twice = grouped(map(Member, names))
    assert list(samples) == [str(n) for n in range(10_000)] and not twice


def test_a_file_that_is_gone_is_a_bad_record(tmp_path):
    written(tmp_path / "a" / "0.png", "image")
    written(tmp_path / "a" / "0.txt", "caption")
    source = open_(f"folder:{tmp_path}")
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(BadRecord, match="missing"):
        source.image(0)
