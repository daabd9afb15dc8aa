"""A run does not go on with other data than it began with."""

import csv

import numpy as np
import pytest
from PIL import Image

from safeclip_jax.data import digests
from safeclip_jax.data.sources.table import Table
from safeclip_jax.errors import UserError
from safeclip_jax.runs import same_data

COUNT = 12


def write(folder, captions=None, order=range(COUNT), color=0):
    """A table of pictures; `color` is that of picture 3."""
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for i in order:
            picture = np.full((8, 8, 3), color if i == 3 else 10 + i, np.uint8)
            Image.fromarray(picture).save(folder / f"{i}.png")
            writer.writerow([f"{i}.png", captions[i] if captions else f"picture {i}"])


@pytest.fixture
def begun(tmp_path):
    """A folder with data and, in `run`, what a run has noted about it."""
    write(tmp_path)
    (tmp_path / "run").mkdir()
    same_data.note(tmp_path / "run", now(tmp_path))
    return tmp_path


def now(folder):
    source = Table(str(folder / "pairs.csv"))
    return {name: digests.of(source) for name in (same_data.TRAINING, same_data.EVALUATION)}


def checked(folder, *accept):
    return same_data.check(folder / "run", now(folder), accept)


def test_the_same_data_passes_wherever_it_lies(begun, tmp_path_factory):
    assert checked(begun) == []
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere)
    assert same_data.check(begun / "run", now(elsewhere)) == []
    assert same_data.check(elsewhere, now(elsewhere)) == []  # a folder without a run


CHANGES = {
    "captions": {"captions": [f"picture {i}" for i in range(11)] + ["another"]},
    "keys, captions, images": {"order": range(COUNT)[::-1]},
    "images": {"color": 200},
}


@pytest.mark.parametrize("what", CHANGES)
def test_changed_data_is_refused_unless_it_is_accepted(begun, what):
    write(begun, **CHANGES[what])
    with pytest.raises(UserError) as refused:
        checked(begun)
    assert f"training pairs: other {what})" in str(refused.value)
    assert "go on with --accept=data" in str(refused.value)
    assert checked(begun, "epochs", "data") == [
        f"evaluation pairs: other {what}", f"training pairs: other {what}"
    ]  # fmt: skip


def test_another_number_of_pairs_is_never_accepted(begun):
    write(begun, order=range(COUNT - 1))
    for accept in ((), ("data",)):
        with pytest.raises(UserError, match="training pairs: there 12, here 11") as refused:
            checked(begun, *accept)
        assert "--accept" not in str(refused.value)


def test_a_picture_that_is_gone_counts_and_one_that_was_never_there_does_not_stop_it(begun):
    (begun / "5.png").unlink()
    with pytest.raises(UserError, match="training pairs: other images"):
        checked(begun)
    same_data.note(begun / "run", now(begun))
    assert checked(begun) == []


def test_large_sources_are_sampled_from_end_to_end(begun, monkeypatch):
    monkeypatch.setattr(digests, "TEXTS", 5)
    monkeypatch.setattr(digests, "IMAGES", 5)
    before = now(begun)
    assert list(digests._spread(COUNT, 5)) == [0, 2, 5, 8, 11]
    write(begun, captions=[f"picture {i}" for i in range(11)] + ["another"])
    after = now(begun)
    changed = {part for part, value in after["training pairs"].items()
               if value != before["training pairs"][part]}  # fmt: skip
    assert changed == {"captions"}


@pytest.mark.parametrize("content", ["[" * 100_000, "", "[]", '{"training pairs": 3}'])
def test_a_damaged_note_is_one_line(begun, content):
    (begun / "run/data.json").write_text(content)
    with pytest.raises(UserError, match=r"data\.json (cannot be read|does not hold)"):
        checked(begun)
