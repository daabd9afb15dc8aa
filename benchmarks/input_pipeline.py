"""How fast are pairs read? Our pipeline beside PyTorch's DataLoader.

    taskset -c 0 python -m benchmarks.input_pipeline        (one core; needs torch)
    python -m benchmarks.input_pipeline --prepared --workers 16 0 --pairs 10000 \\
        --against results/accelerator_vit_b32.json

Both read the same JPEGs of 500×375 from disk and make batches of 64 at 224 pixels, for
unimodal training with two augmented views of each image. The peer decodes once and makes
both views on the host with Pillow, by torchvision's recipe (random resized crop, flip,
colour jitter, grayscale, blur). We decode and resize once, send uint8, and make the views
on the device; where the host's cores are the device, `--on-device` adds that.

Whole pictures are squeezed to 256 pixels a side, and views are cut from them.
With `--prepared` we read shards that `safeclip_jax.prepare` wrote at 224 pixels. Workers are
processes; 0 makes batches in this one, in as many threads as there are cores. Rates are those
after the first batch, and what it takes to come is `first batch s`.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks import apart, markdown
from benchmarks.result_file import FOLDER, ResultFile
from safeclip_jax.data import prepare, tokenizer
from safeclip_jax.data.augment_image import ImageAugmentation, augment
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.pipeline import ImageReader, Loader, PictureReader
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources.array_record import ArrayRecord
from safeclip_jax.data.sources.base import Source
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.data.sources.table import Table
from safeclip_jax.objectives import OBJECTIVES

SIDE, PICTURE, BATCH = 224, 256, 64
CORES = len(os.sched_getaffinity(0))
DISTINCT = 128  # more pairs than these share their files
Batches = Iterator[int]  # the pairs of each


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to read the pairs of a folder; `reader` is a name in READERS."""

    reader: str
    objective: str
    workers: int
    prepared: bool
    folder: str
    rounds: int
    round_seconds: float


def write_pairs(folder: Path, count: int) -> Path:
    """JPEGs of 500×375 with the detail of photographs (scenes plus smooth noise), and a CSV."""
    scenes, rng = Scenes(min(count, DISTINCT), 0, size=512), np.random.default_rng(0)
    for i in range(len(scenes)):
        image = Image.fromarray(scenes.image(i)).resize((500, 375), Image.Resampling.BICUBIC)
        coarse = rng.integers(0, 256, (60, 80, 3), np.uint8)
        texture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        Image.blend(image, texture, 0.3).save(folder / f"{i}.jpg", "JPEG", quality=90)
    numbers = [i % len(scenes) for i in range(count)]
    lines = ["image,caption", *(f'{i}.jpg,"{scenes.captions[i]}"' for i in numbers)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


def peer(case: Case) -> Callable[[], Batches]:
    """PyTorch's DataLoader, both views made by Pillow."""
    import torch

    folder = Path(case.folder)
    count = len((folder / "pairs.csv").read_text().splitlines()) - 1

    def view(image: Image.Image) -> torch.Tensor:
        width, height = image.size
        for _ in range(10):
            area = width * height * random.uniform(0.08, 1.0)
            aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w, h = min(width, height), min(width, height)
        left, top = random.randint(0, width - w), random.randint(0, height - h)
        box = (left, top, left + w, top + h)
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        if random.random() < 0.8:
            for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = kind(image).enhance(random.uniform(0.5, 1.5))
            hue, saturation, value = image.convert("HSV").split()
            shift = round(255 * random.uniform(-0.1, 0.1))
            hue = hue.point(lambda x: (x + shift) % 256)
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
        if random.random() < 0.2:
            image = ImageOps.grayscale(image).convert("RGB")
        if random.random() < 0.5:
            image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            content = (folder / f"{index % DISTINCT}.jpg").read_bytes()
            image = Image.open(io.BytesIO(content)).convert("RGB")
            return view(image), view(image)

    torch.set_num_threads(1)

    def batches() -> Batches:
        made = torch.utils.data.DataLoader(
            Pairs(), BATCH, shuffle=True, drop_last=True, num_workers=case.workers
        )
        return (len(a) for a, _ in made)

    return batches


def ours(case: Case, on_device: bool = False, whole: int = 0) -> Callable[[], Batches]:
    """Our loader alone, or with both views made on the device; of `whole` pictures or squares."""
    folder = Path(case.folder)
    kept: Source = Table(str(folder / "pairs.csv"))
    if case.prepared:
        kept = ArrayRecord(str(folder / "shards"))
    source = Resized(kept, SIDE)
    words = tokenizer.train(source.captions, 400, 77)
    reader, skipped = ImageReader(source, SIDE, cache_bytes=0), SkippedRecords(source, 0.1)
    pictures = PictureReader(source, whole) if whole else None
    loader = Loader(
        source.captions, reader, words, skipped, 0, CORES, case.workers, pictures=pictures
    )
    objective = OBJECTIVES[case.objective]
    views = objective.caption_views(not objective.plain)

    def batches() -> Batches:
        for batch in loader.training_batches(np.arange(len(source)), BATCH, (0, 0), views):
            if on_device:
                views_of = batch["image"], batch["index"], batch.get("aspect")
                jax.block_until_ready(two_views(*views_of))
            yield len(batch["index"])

    return batches


@jax.jit
def two_views(
    images: jax.Array, index: jax.Array, aspect: jax.Array | None
) -> tuple[jax.Array, ...]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), index)
    pixels = images.astype(jnp.float32) / 255
    both = (jax.vmap(lambda k, v=v: jax.random.fold_in(k, v))(keys) for v in (0, 1))
    return tuple(augment(pixels, k, ImageAugmentation(), SIDE, aspect) for k in both)


OURS, PEER = "ours, host", "PyTorch DataLoader, Pillow"
ON_DEVICE = "ours, host and augmentation on the same cores"
WHOLE = "ours, host, whole pictures"
WHOLE_ON_DEVICE = "ours, host and augmentation on the same cores, whole pictures"
READERS = {
    OURS: ours,
    PEER: peer,
    ON_DEVICE: partial(ours, on_device=True),
    WHOLE: partial(ours, whole=PICTURE),
    WHOLE_ON_DEVICE: partial(ours, on_device=True, whole=PICTURE),
}


def measure(case: Case) -> dict[str, Any]:
    """Pairs a second after the first batch, and the seconds until that, over some rounds."""
    batches, first, rates = READERS[case.reader](case), [], []
    for _ in range(case.rounds + 1):
        start = time.perf_counter()
        iterator = batches()
        next(iterator)
        began = now = time.perf_counter()
        first.append(began - start)
        pairs = 0
        while now - began < case.round_seconds and (more := next(iterator, 0)):
            pairs, now = pairs + more, time.perf_counter()
        rates.append(pairs / (now - began))
    rates = rates[1:]  # the first round warms up
    return {
        "device": f"{CORES} cores",
        "pairs/s": round(statistics.median(rates), 1),
        "least": round(min(rates), 1),
        "most": round(max(rates), 1),
        "first batch s": round(statistics.median(first[1:]), 2),
    }


def cases(args: argparse.Namespace, folder: Path) -> Iterator[Case]:
    for workers in args.workers:
        of = partial(
            Case,
            workers=workers,
            prepared=args.prepared,
            folder=str(folder),
            rounds=args.rounds,
            round_seconds=args.round_seconds,
        )
        if args.peer:
            yield of(PEER, "unimodal")
        yield of(OURS, "unimodal")
        yield of(OURS, "clip") if args.prepared else of(WHOLE, "unimodal")
        if args.on_device and not workers:
            yield of(ON_DEVICE, "unimodal")
            yield of(WHOLE_ON_DEVICE, "unimodal")


def eaten(path: Path | None) -> dict[str, float]:
    """By objective, the pairs a second that the device took in the file of `benchmarks.steps`."""
    found: dict[str, float] = {}
    for row in json.loads(path.read_text())["rows"] if path and path.exists() else ():
        if row["framework"] == "safeclip_jax" and "pairs/s" in row:
            found[row["objective"]] = max(found.get(row["objective"], 0.0), row["pairs/s"])
    return found


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m benchmarks.input_pipeline", description=__doc__.splitlines()[0]
    )
    made.add_argument("--pairs", type=int, default=512)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--round-seconds", type=float, default=10, help="of a round, at most")
    made.add_argument("--prepared", action="store_true", help="read shards of 224 pixels")
    made.add_argument("--workers", type=int, nargs="+", default=[0], help="processes")
    made.add_argument("--peer", action="store_true", help="PyTorch's DataLoader as well")
    made.add_argument("--on-device", action="store_true", help="with augmentation by JAX as well")
    made.add_argument("--against", type=Path, help="file of benchmarks.steps")
    made.add_argument("--seconds", type=float, default=3600, help="for everything")
    made.add_argument("--json", type=Path, default=FOLDER / "input_pipeline.json")
    made.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    return made


def main() -> None:
    args = parser().parse_args()
    flags.FLAGS.mark_as_parsed()  # Grain reads its own
    if args.case:
        print(json.dumps(measure(Case(**args.case))))
        return
    apart.stop_on_sigterm()
    deadline, device = apart.Deadline(args.seconds), eaten(args.against)
    found = ResultFile(args.json)
    with tempfile.TemporaryDirectory() as name:
        pairs = write_pairs(Path(name), args.pairs)
        if args.prepared:
            prepare.run(Table(str(pairs)), Path(name) / "shards", size=SIDE, threads=CORES)
        runner = apart.Runner("benchmarks.input_pipeline", deadline)
        for case, result in runner.all([*map(dataclasses.asdict, cases(args, Path(name)))]):
            shown = {k: case[k] for k in ("reader", "objective", "workers", "prepared")}
            eats = device.get(case["objective"])
            if eats and "pairs/s" in result:
                result["of the device's %"] = round(100 * result["pairs/s"] / eats, 1)
            found.add(shown | result | against_the_peer(shown | result, found.rows))
    columns = list(dict.fromkeys(name for row in found.rows for name in row))
    table = [{name: row.get(name, "–") for name in columns} for row in found.rows]
    print(f"\n{markdown.table(table)}\n\n{found.path}")


def against_the_peer(row: dict, before: list[dict]) -> dict[str, float]:
    """A row's rate over that of the peer with the same work and as many workers, if it ran."""
    same = ("objective", "workers")
    for other in (*before, row):
        alike = all(other[name] == row[name] for name in same)
        if other["reader"] == PEER and alike and "pairs/s" in other and "pairs/s" in row:
            return {"times_the_peer": round(row["pairs/s"] / other["pairs/s"], 2)}
    return {}


if __name__ == "__main__":
    main()
