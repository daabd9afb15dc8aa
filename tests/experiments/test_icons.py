"""The corpus of icons from a small package: every icon is a pair or left out, none twice."""

import csv
import json

import pytest

from safeclip_jax.data.sources.webdataset import WebDataset

pytest.importorskip("resvg_py")
from experiments.corpora import icons

DISC = '<circle cx="8" cy="8" r="6" fill="{}"/>'


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package" / "json"
    folder.mkdir(parents=True)
    about = {"author": {"name": "A"}, "license": {"title": "MIT", "url": "https://x"}}
    names = [f"red-heart-{word}" for word in ("one", "two", "three", "four", "five", "six")]
    drawn = {name: {"body": DISC.format(f"#f{i}0000")} for i, name in enumerate(names)}
    drawn |= {
        "heart-and-star": {"body": DISC.format("red")},  # names two nouns
        "hidden-cat": {"body": DISC.format("red"), "hidden": True},
        "empty-dog": {"body": ""},
        "broken-cow": {"body": "<circle"},
        "x": {"body": DISC.format("red")},
        "filled_outline-blue_9-thing": {"body": DISC.format("blue"), "width": 32},
    }
    sets = {"colour": (True, drawn), "plain": (False, {"red-fish": {"body": DISC.format("red")}})}
    for prefix, (palette, found) in sets.items():
        info = {"name": prefix.title(), "palette": palette, **about}
        content = {"prefix": prefix, "info": info, "icons": found}
        (folder / f"{prefix}.json").write_text(json.dumps(content))
    return tmp_path / "package"


def test_every_icon_in_colour_is_a_pair_or_left_out(package, tmp_path, monkeypatch):
    monkeypatch.setattr(icons, "SHARD", 3)
    monkeypatch.setattr(icons, "HELD_OUT", 0.5)
    found = icons.write(package, tmp_path / "out")
    assert found["train"] + found["test"] == 8 and found["left out"] == 2
    parts = {
        part: WebDataset(str(tmp_path / "out" / part), label_column="label")
        for part in ("train", "test")
    }
    captions = [caption for part in parts.values() for caption in part.captions]
    assert len(captions) == len(set(captions)) == 8 and "blue thing" in captions
    assert {len(part) for part in parts.values()} == {found["train"], found["test"]}
    assert len([*(tmp_path / "out/train").iterdir()]) == -(-found["train"] // 3)
    held_out = parts["test"]
    assert {held_out.class_names[i] for i in held_out.labels} == {"heart"} and len(held_out) > 0
    assert {*parts["train"].class_names} == {"heart", "other"}
    rows = list(csv.DictReader((tmp_path / "out/licences.csv").open()))
    assert rows == [
        {"set": "colour", "name": "Colour", "author": "A", "licence": "MIT", "url": "https://x",
         "pairs": "8"}
    ]  # fmt: skip


def test_it_is_the_same_each_time(package, tmp_path):
    for name in ("one", "two"):
        icons.write(package, tmp_path / name)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes()
         for path in (tmp_path / name).rglob("*.tar")}
        for name in ("one", "two")
    )  # fmt: skip
    assert one == two and one
