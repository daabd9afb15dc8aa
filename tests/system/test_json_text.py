"""JSON that is nested a hundred thousand deep is one line, whoever reads it."""

import io
import tarfile
from pathlib import Path

import pytest

from safeclip_jax.attacks import poison
from safeclip_jax.checkpoints import on_disk
from safeclip_jax.data import prompts
from safeclip_jax.data.sources import index
from safeclip_jax.data.sources.array_record import ArrayRecord
from safeclip_jax.data.sources.coco import Coco
from safeclip_jax.data.sources.webdataset import WebDataset
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_folder
from safeclip_jax.system import json_text
from safeclip_jax.training import metrics, results
from safeclip_jax.weights import pretrained

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "[1", b"\xff\xfe", ""])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        json_text.read(text)


@pytest.mark.parametrize(
    "name, read",
    [
        ("manifest.json", poison.load),
        ("results.json", results.read),
        ("prompts.json", lambda path: prompts.read(str(path))),
        ("captions.json", lambda path: Coco(str(path))),
        ("config.json", lambda path: run_folder.read(path.parent)),
        ("config.json", lambda path: pretrained.read(path.parent)),
        ("open_clip_config.json", lambda path: pretrained.read(path.parent)),
        ("dataset.json", lambda path: ArrayRecord(str(path.parent))),
        ("index.json", lambda path: index.read(path.parent)),
    ],
)
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
