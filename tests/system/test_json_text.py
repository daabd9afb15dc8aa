"""JSON that is nested a hundred thousand deep is one line, whoever reads it."""

import io
import tarfile
from pathlib import Path

import pytest

from safeclip_jax.attacks import manifest
from safeclip_jax.checkpoints import on_disk
from safeclip_jax.data import prompts
from safeclip_jax.data.sources import index
from safeclip_jax.data.sources.array_record import ArrayRecord
from safeclip_jax.data.sources.coco import Coco
from safeclip_jax.data.sources.webdataset import WebDataset
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_folder, same_data
from safeclip_jax.system import json_text
from safeclip_jax.training import metrics, results
from safeclip_jax.weights import pretrained

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "[1", b"\xff\xfe", ""])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        json_text.read(text)


READERS = pytest.mark.parametrize(
    "name, read",
    [
        ("manifest.json", manifest.load),
        ("results.json", results.read),
        ("prompts.json", lambda path: prompts.read(str(path))),
        ("captions.json", lambda path: Coco(str(path))),
        ("config.json", lambda path: run_folder.read(path.parent)),
        ("config.json", lambda path: pretrained.read(path.parent)),
        ("open_clip_config.json", lambda path: pretrained.read(path.parent)),
        ("dataset.json", lambda path: ArrayRecord(str(path.parent))),
        ("index.json", lambda path: index.read(path.parent)),
        ("model.json", lambda path: pretrained.read(path.parent)),
        ("data.json", lambda path: same_data.check(path.parent, {"training pairs": {}})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
OTHERS = {
    "nothing": b"",
    "a blank": b" ",
    "zeros": bytes(100),
    "a list": b"[]",
    "a list of lists": b"[[1, 2], [3]]",
    "a text": b'"text"',
    "a number": b"1",
    "a number of 5000 digits": b"1" * 5000,
    "beyond all numbers": b"1e999",
    "not a number": b"NaN",
    "null": b"null",
    "no UTF-8": b'{"\xff\xfe": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half a sign": b'{"a": "\\ud800"}',
    "cut off": b'{"a": [1, 2',
    "two values": b"{} {}",
    "nulls": b'{"images": null, "annotations": null, "schema": null, "shards": null, '
    b'"model": null, "data": null, "defense": null, "model_cfg": null, "pairs": null}',
    "infinities": b'{"images": 1e999, "schema": 1, "shards": 1e999, "pairs": 1e999, "extra": {}, '
    b'"rejected": 1e999, "model": {"preset": 1e999}, "data": {"context": 1e999}, "defense": 1e999}',
}


@READERS
@pytest.mark.parametrize("content", OTHERS)
def test_what_is_no_file_of_ours_is_one_line(tmp_path, name, read, content):
    (tmp_path / name).write_bytes(OTHERS[content])
    try:
        read(tmp_path / name)
    except UserError as error:
        assert "\n" not in str(error) and str(tmp_path) in str(error)


@READERS
def test_a_file_that_is_nested_too_deeply_is_refused_in_one_line(tmp_path, name, read):
    (tmp_path / name).write_text(DEEP)
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_lists_of_lines_end_before_such_a_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{DEEP}\n')
    assert metrics.read(tmp_path / "metrics.jsonl") == [{"step": 1}]
    (tmp_path / "1/position").mkdir(parents=True)
    (tmp_path / "1/position/metadata").write_text(DEEP)
    assert on_disk.position(tmp_path, 1) == {}


def test_a_record_of_such_json_is_rejected(tmp_path):
    with tarfile.open(Path(tmp_path) / "0.tar", "w") as tar:
        for name, content in (("a.json", DEEP), ("a.jpg", "x"), ("b.txt", "text"), ("b.jpg", "x")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    source = WebDataset(str(tmp_path))
    assert len(source) == 1
    assert [r.reason for r in source.rejected] == [".json cannot be read: it is nested too deeply"]
