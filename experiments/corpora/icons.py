"""60,000 real pairs without a download of pictures: the coloured icons of an npm package.

    pip install -e ".[corpora]" && npm pack @iconify/json && tar xzf iconify-json-*.tgz
    python -m experiments.corpora.icons --package package --out data/icons

An icon's caption is the name that its designers gave it, in words. The vocabulary has a long tail,
and many pictures are nearly the same. `--out` gets WebDataset shards, `train/` and `test/`: PNGs of
64 pixels, `.txt` with the caption, `.json` with the icon set and a label: the one of 80 nouns that
the caption names, else `other`. 15 % of the labelled pairs are the test part. Every set has a
licence of its own: `licences.csv` lists those of the pairs that are written. Five minutes.
"""

from __future__ import annotations

import argparse
import collections
import csv
import io
import json
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from safeclip_jax.system.terminal import ProgressLine

_NOUNS = """
apple astronaut baby bed beer bell bicycle bird boat book bread bubble bunny burger bus cake
calendar camera car card cat chair chat cheese cherry clock cloud coffee crown dog door egg eyes
factory farmer file fire fish flag flower folder gift glasses globe grapes guitar hammer hand
handshake hat heart horse house key kiss lemon lock mail medal moon mountain phone pilot pizza
police rabbit rocket ship shirt shoe singer star sun train tree trophy umbrella wheelchair
window wine
"""
NOUNS = frozenset(_NOUNS.split())
OTHER = "other"
SIZE, SHARD, HELD_OUT = 64, 5000, 0.15
_SAYS_NOTHING = re.compile(r"\b(color|fill|filled|outline|[0-9]+)\b")
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="{} {} {} {}" width="{}" height="{}">{}</svg>'
)


class Icon(NamedTuple):
    """An icon as its set has it."""

    set: str
    name: str
    caption: str
    svg: str

    @property
    def label(self) -> str:
        """The one noun that the caption names; `OTHER` for none or several."""
        named = NOUNS.intersection(self.caption.lower().split())
        return next(iter(named)) if len(named) == 1 else OTHER


def icons(package: Path) -> Iterator[Icon]:
    """Every visible icon of the sets in colour, set by set."""
    for path in sorted((package / "json").glob("*.json")):
        found = json.loads(path.read_text())
        if not found.get("info", {}).get("palette"):
            continue
        for name, icon in found["icons"].items():
            caption = _words(name)
            if icon.get("hidden") or len(caption) < 3:
                continue
            sides = (("left", 0), ("top", 0), ("width", 16), ("height", 16))
            box = [icon.get(side, found.get(side, usual)) for side, usual in sides]
            yield Icon(found["prefix"], name, caption, _SVG.format(*box, SIZE, SIZE, icon["body"]))


def _words(name: str) -> str:
    return " ".join(_SAYS_NOTHING.sub("", re.sub(r"[-_]+", " ", name)).split())


def picture(svg: str) -> bytes | None:
    """A PNG on white; None if it cannot be drawn, or is of one colour."""
    import resvg_py

    try:
        drawn = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="white")
    except Exception:  # a few icons use what the renderer does not know
        return None
    image = Image.open(io.BytesIO(bytes(drawn))).convert("RGB")
    if len(image.getcolors(SIZE * SIZE) or []) < 2:
        return None
    made = io.BytesIO()
    image.save(made, "PNG")
    return made.getvalue()


class Shards:
    """WebDataset shards of one part; a shard is written once it is full, or at the end."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.pairs = folder, 0
        self._waiting: list[tuple[str, bytes]] = []

    def add(self, key: str, members: dict[str, bytes]) -> None:
        self._waiting += [(f"{key}.{ending}", content) for ending, content in members.items()]
        self.pairs += 1
        if self.pairs % SHARD == 0:
            self.write()

    def write(self) -> None:
        if not self._waiting:
            return
        path = self._folder / f"{(self.pairs - 1) // SHARD:05d}.tar"
        with tarfile.open(path, "w") as shard:
            for name, content in self._waiting:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
        self._waiting.clear()


def write(package: Path, out: Path) -> dict[str, int]:
    """Writes the corpus; returns the pairs of each part and how many icons were left out."""
    rows = list(icons(package))
    random.Random(0).shuffle(rows)
    choose, parts = random.Random(1), {name: Shards(out / name) for name in ("train", "test")}
    sets: collections.Counter[str] = collections.Counter()
    progress = ProgressLine(len(rows), 0, True)
    for number, icon in enumerate(rows):
        progress.advance_to(number, "draws icons")
        png = picture(icon.svg)
        if png is None:
            continue
        part = "test" if icon.label != OTHER and choose.random() < HELD_OUT else "train"
        key = f"{number:06d}--{icon.set}--{re.sub('[^a-z0-9-]', '-', icon.name)}"
        about = json.dumps({"set": icon.set, "label": icon.label}).encode()
        parts[part].add(key, {"png": png, "txt": icon.caption.encode(), "json": about})
        sets[icon.set] += 1
    progress.close()
    for shards in parts.values():
        shards.write()
    _list_licences(package, out / "licences.csv", sets)
    left_out = len(rows) - sets.total()
    return {**{name: shards.pairs for name, shards in parts.items()}, "left out": left_out}


def _list_licences(package: Path, path: Path, sets: collections.Counter[str]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("set", "name", "author", "licence", "url", "pairs"))
        for prefix in sorted(sets):
            info = json.loads((package / "json" / f"{prefix}.json").read_text())["info"]
            licence = info["license"]
            told = (info["name"], info["author"]["name"], licence["title"], licence.get("url", ""))
            table.writerow((prefix, *told, sets[prefix]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, required=True, help="the package, unpacked")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    arguments = parser.parse_args()
    if not (arguments.package / "json").is_dir():
        parser.error(f"--package {arguments.package} has no folder json: npm pack @iconify/json")
    print(", ".join(f"{name}: {n}" for name, n in write(arguments.package, arguments.out).items()))


if __name__ == "__main__":
    main()
