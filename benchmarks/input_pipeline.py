"""How fast are pairs read? Our pipeline beside PyTorch's DataLoader, on one core each.

    taskset -c 0 python -m benchmarks.input_pipeline        (needs torch)

Both read the same JPEGs of 500×375 from disk and make batches of 64 at 224 pixels, for
unimodal training with two augmented views of each image. The peer decodes once and makes
both views on the host with Pillow, by torchvision's recipe (random resized crop, flip,
colour jitter, grayscale, blur). We decode and resize once, send uint8, and make the views
on the device; on this machine the device is the same core, and the last row adds it.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

SIDE, BATCH = 224, 64
Count = Callable[[], int]


def write_pairs(folder: Path, count: int) -> Path:
    """JPEGs of 500×375 with the detail of photographs (scenes plus smooth noise), and a CSV."""
    from safeclip_jax.data.sources.scenes import Scenes

    scenes, rng = Scenes(count, 0, size=512), np.random.default_rng(0)
    lines = ["image,caption"]
    for i in range(count):
        image = Image.fromarray(scenes.image(i)).resize((500, 375), Image.Resampling.BICUBIC)
        coarse = rng.integers(0, 256, (60, 80, 3), np.uint8)
        texture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        Image.blend(image, texture, 0.3).save(folder / f"{i}.jpg", "JPEG", quality=90)
        lines.append(f'{i}.jpg,"{scenes.captions[i]}"')
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


def peer(folder: Path, count: int) -> Count:
    """PyTorch's DataLoader in this process, both views made by Pillow."""
    import torch

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
            content = (folder / f"{index}.jpg").read_bytes()
            image = Image.open(io.BytesIO(content)).convert("RGB")
            return view(image), view(image)

    torch.set_num_threads(1)
    batches = torch.utils.data.DataLoader(Pairs(), BATCH, shuffle=True, drop_last=True)
    return lambda: sum(len(a) for a, _ in batches)


def ours(table: Path) -> tuple[Count, Count]:
    """Our loader alone, and with both views made on the device."""
    import jax
    import jax.numpy as jnp

    from safeclip_jax.data import tokenizer
    from safeclip_jax.data.augment_image import ImageAugmentation, augment
    from safeclip_jax.data.decode import Resized
    from safeclip_jax.data.pipeline import ImageReader, Loader
    from safeclip_jax.data.skipped import SkippedRecords
    from safeclip_jax.data.sources.table import Table

    source = Resized(Table(str(table)), SIDE)
    words = tokenizer.train(source.captions, 400, 77)
    reader = ImageReader(source, SIDE, cache_bytes=0)
    loader = Loader(source.captions, reader, words, SkippedRecords(source, 0.1), 0, threads=1)
    pairs = np.arange(len(source))

    @jax.jit
    def views(images: jax.Array, index: jax.Array) -> tuple[jax.Array, ...]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), index)
        pixels = images.astype(jnp.float32) / 255
        both = (jax.vmap(lambda k, v=v: jax.random.fold_in(k, v))(keys) for v in (0, 1))
        return tuple(augment(pixels, k, ImageAugmentation()) for k in both)

    def host() -> int:
        batches = loader.training_batches(pairs, BATCH, (0, 0), (True, True))
        return sum(len(batch["index"]) for batch in batches)

    def with_device() -> int:
        done = 0
        for batch in loader.training_batches(pairs, BATCH, (0, 0), (True, True)):
            jax.block_until_ready(views(batch["image"], batch["index"]))
            done += len(batch["index"])
        return done

    return host, with_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = write_pairs(Path(name), arguments.pairs)
        host, with_device = ours(table)
        kinds = {
            "ours, host": host,
            "PyTorch DataLoader, Pillow": peer(Path(name), arguments.pairs),
            "ours, host and augmentation on the same core": with_device,
        }
        speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for round_ in range(arguments.rounds + 1):
            for kind, run in kinds.items():
                start = time.perf_counter()
                speed = run() / (time.perf_counter() - start)
                if round_:  # the first warms up
                    speeds[kind].append(speed)
    print(json.dumps({kind: [round(s, 1) for s in values] for kind, values in speeds.items()}))
    base = statistics.median(speeds["PyTorch DataLoader, Pillow"])
    print("\n| input | pairs/s a core, median | to the peer |\n|---|---|---|")
    for kind, values in speeds.items():
        median = statistics.median(values)
        print(f"| {kind} | {median:.0f} | {median / base:.2f} × |")


if __name__ == "__main__":
    main()
