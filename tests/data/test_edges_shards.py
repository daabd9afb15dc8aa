"""Shards as people have them: every ending, every name, every caption; nothing is lost unsaid."""

import gzip
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.data.sources.base import IMAGE_ENDINGS
from safeclip_jax.data.sources.webdataset import WebDataset
from safeclip_jax.errors import UserError
from tests.support.data_files import add_member

IMAGE = b"not looked at"


def shard(folder, members, name="0.tar"):
    with tarfile.open(folder / name, "w") as tar:
        for member, content in members:
            add_member(tar, member, content)
    return folder / name


def read(folder, members, **options):
    shard(folder, members)
    return WebDataset(str(folder), **options)


@pytest.mark.parametrize("ending", [*IMAGE_ENDINGS, ".JPG", ".Tiff"])
def test_every_ending_of_a_picture_in_any_case(tmp_path, ending):
    source = read(tmp_path, [(f"a{ending}", IMAGE), ("a.TXT", b"words")])
    assert list(source.captions) == ["words"] and source.image(0) == IMAGE


def test_names_hold_dots_and_endings_have_two_parts(tmp_path):
    names = [f"IMG.2023.{i:04d}" for i in range(3)]
    members = [(f"{n}{e}", IMAGE) for n in names for e in (".jpg", ".txt")]
    members += [("s.input.jpg", IMAGE), ("s.output.txt", b"two parts"), ("IMG.9.jpg", IMAGE)]
    members += [("m.jpg", IMAGE), ("m.txt", b"masked"), ("m.mask.png", IMAGE)]
    source = read(tmp_path, members)
    assert set(source.keys) == {*(f"0/{n}" for n in names), "0/s", "0/m"}
    assert [r.key for r in source.rejected] == ["0/IMG.9"]


BIG = json.dumps({"caption": "of the json", "exif": "x" * 2**21}).encode()


@pytest.mark.parametrize(
    "text, fields, captions",
    [
        (b"words", b"{", ["words"]),
        (b"words", b"[1]", ["words"]),
        (b"", b'{"caption": "of the json"}', ["of the json"]),
        (b"\xff", b'{"caption": "of the json"}', ["of the json"]),
        (None, b'\xef\xbb\xbf{"caption": "of the json"}', ["of the json"]),
        (None, b'{"caption": ["one", "two"]}', ["one", "two"]),
        (None, BIG, ["of the json"]),
        (b"one\ntwo\n\nthree\n", None, ["one", "two", "three"]),
        (b"one\ntwo", b'{"caption": "one\\ntwo"}', ["one\ntwo"]),
        ("é".encode("utf-16"), None, ["é"]),
        (b"\xef\xbb\xbfwords", None, ["words"]),
    ],
)
def test_captions_of_text_and_json(tmp_path, text, fields, captions):
    members = [("a.jpg", IMAGE)]
    members += [("a.txt", text)] if text is not None else []
    members += [("a.json", fields)] if fields is not None else []
    source = read(tmp_path, members)
    assert list(source.captions) == captions and not source.rejected
    assert set(source.image_numbers()) == {0}


def test_labels_of_cls_members(tmp_path):
    members = [("a.jpg", IMAGE), ("a.cls", b"sea_lion\n"), ("b.jpg", IMAGE), ("b.txt", b"w")]
    source = read(tmp_path, [*members, ("b.cls", b"dog")], label_column="cls")
    assert list(source.captions) == ["a photo of a sea lion", "w"]
    assert [source.class_names[i] for i in source.labels] == ["sea lion", "dog"]


def test_missing_and_torn_shards_stop_or_are_allowed_by_name(tmp_path):
    whole = shard(tmp_path, [("a.jpg", IMAGE), ("a.txt", b"words"), ("b.jpg", IMAGE)])
    spec = f"webdataset:{tmp_path}/{{0..2}}.tar"
    with pytest.raises(UserError, match=r"2 of 3 shards are missing.*data\.allow_missing=True"):
        open_source(spec, SourceOptions())
    (tmp_path / "1.tar").write_bytes(whole.read_bytes()[:2048])  # between two members
    (tmp_path / "2.tar").write_bytes(whole.read_bytes()[:1500])
    for number in (1, 2):
        with pytest.raises(UserError, match=f"{number}/after.*data.allow_missing=True"):
            open_source(f"webdataset:{tmp_path}/{number}.tar", SourceOptions())
    source = open_source(spec, SourceOptions(allow_missing=True))
    assert len(source) == 2
    assert {"1/after a.txt", "2/after a.txt"} & {r.key for r in source.rejected}


def test_compressed_shards_are_refused_by_name(tmp_path):
    content = shard(tmp_path, [("a.jpg", IMAGE)]).read_bytes()
    (tmp_path / "1.tar.gz").write_bytes(gzip.compress(content))
    for path in (tmp_path, tmp_path / "1.tar.gz"):
        with pytest.raises(UserError, match=r"1\.tar\.gz is compressed.*gunzip"):
            WebDataset(str(path))


def test_a_reason_is_short(tmp_path):
    members = [(f"a.{'part' * 100}{i}", b"") for i in range(50)]
    assert all(len(r.reason) <= 301 for r in read(tmp_path, members).rejected)


NAMES = st.tuples(
    st.sampled_from(["a", "b", "a.b", "c.1", "c.2"]),
    st.sampled_from([".jpg", ".png", ".txt", ".json", ".x.jpg", ".y.txt", ""]),
).map("".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from([b"", b"{", b'{"caption": "j"}', b"w"])), min_size=1)
)
def test_every_member_is_used_or_listed_and_no_pair_is_there_twice(members):
    with tempfile.TemporaryDirectory() as folder:
        source = read(Path(folder), members)
        keys = list(source.keys)
        assert len(set(keys)) == len(keys)
        listed = {r.key.removeprefix("0/") for r in source.rejected}
        used = {key.removeprefix("0/") for key in keys}
        for name, _ in members:
            stem = name.rpartition(".")[0] or name
            known = used | listed
            assert {name, stem, name.partition(".")[0]} & known, (name, known)
