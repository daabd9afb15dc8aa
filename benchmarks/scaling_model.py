"""What a run needs of memory, time, network and host, before anyone pays for it.

    python -m benchmarks.scaling_model

Counts operations with XLA's own analysis of the forward pass, and bytes from the shapes; the
formulas are in docs/scaling.md. Speeds are the makers' peaks times `--mfu`: by default the best of
our CLIP steps in results/accelerator_*.json, and without such a file 40 %, an assumption.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks import forward_pass, markdown
from benchmarks.result_file import FOLDER
from safeclip_jax.models import clip
from safeclip_jax.models.resnet import ResNetConfig

GIB = 2**30


class Machine(NamedTuple):
    """Devices of one kind; peak bf16 operations, memory and link of one of them."""

    name: str
    devices: int
    hosts: int
    peak: float
    memory: float
    link: float  # bytes a second that a device sends to the others


class Model(NamedTuple):
    """A preset, and what one pair costs."""

    name: str
    parameters: int
    flops: float  # of a forward pass of both towers, a pair
    kept: float  # bytes that the backward pass keeps of a pair, bf16
    kept_remat: float
    embedding: int


MACHINES = (
    Machine("v5e-8", 8, 1, 197e12, 16 * GIB, 200e9),
    Machine("v5e-256", 256, 64, 197e12, 16 * GIB, 200e9),
    Machine("8 × H100", 8, 1, 989e12, 80 * GIB, 450e9),
)
DATA = (("CC3M", 3_000_000), ("CC12M", 12_000_000), ("400 M", 400_000_000))
SETTINGS = (  # preset, batch, on which machines
    ("vit_b32", 512, ("v5e-8", "8 × H100")),
    ("rn50", 512, ("v5e-8", "8 × H100")),
    ("vit_b32", 32_768, ("v5e-256", "8 × H100")),
    ("vit_l14", 32_768, ("v5e-256", "8 × H100")),
)
BANK, CHUNK = 65_536, 1024
OF_OURS = ("safeclip_jax", "clip")
ASSUMED = 0.4
HOSTS = 32  # with 8 devices each


@functools.cache
def model(preset: str) -> Model:
    size = clip.PRESETS[preset].image.image_size
    config = clip.configure(preset, image_size=size, context=77, vocab_size=49_408, end_id=49_407)
    cost = forward_pass.cost(config)
    text = 77 * config.text.width * config.text.depth
    if isinstance(config.image, ResNetConfig):
        # A bottleneck keeps about ten maps of its width; the stem and first stage hold most.
        image, whole = 0.0, 2 * 10 * _resnet_places(config.image, size)
    else:
        patches = (size // config.image.patch) ** 2 + 1
        image, whole = patches * config.image.width * config.image.depth, 0.0
    return Model(
        preset,
        *cost,
        34 * (image + text) + whole,
        2 * (image + text) + whole / 5,
        config.embedding,
    )


def _resnet_places(image: ResNetConfig, size: int) -> float:
    side, total = size // 4, 0.0
    for stage, blocks in enumerate(image.blocks):
        total += blocks * image.width * 2**stage * (side / 2**stage) ** 2
    return total


def memory(m: Model, batch: int, machine: Machine, fsdp: int, remat: bool, micro: int) -> float:
    """Bytes on a device: state and gradients, banks split, activations, chunked similarities."""
    here = batch / machine.devices
    state = 16 * m.parameters / fsdp + (4 * m.parameters if fsdp > 1 else 0)
    banks = 2 * 4 * BANK * m.embedding / machine.devices
    kept = (m.kept_remat if remat else m.kept) * here / micro
    losses = 3 * 4 * here * min(CHUNK, batch) + 4 * 4 * batch * m.embedding
    return state + banks + kept + losses


def plan_units(epochs: int, reuse: bool) -> tuple[float, float]:
    """Forward passes a pair of the whole of SafeCLIP and of plain CLIP; a step's are three.

    Unimodal: two views forward, one of them backward: four. The first safe pool is taken for half
    of the data; it grows by 1 % an epoch up to 85 %.
    """
    total = 5 * 4.0 + 3.0
    for epoch in range(epochs - 6):
        safe = min(0.5 + 0.01 * epoch, 0.85)
        total += 3 * safe + 4 * (1 - safe) + ((1 - safe) if reuse else 1)
    return total, 3.0 * epochs


def fits(m: Model, batch: int, machine: Machine) -> tuple[str, float]:
    """The first setting, from the simplest, that fits in 90 % of the memory, and its bytes."""
    for micro in (1, 2, 4, 8, 16, 32):
        for fsdp in (1, machine.devices):
            for remat in (False, True):
                used = memory(m, batch, machine, fsdp, remat, micro)
                if used < 0.9 * machine.memory:
                    parts = [f"fsdp={fsdp}"] * (fsdp > 1) + ["remat"] * remat
                    return ", ".join(parts + [f"micro_batches={micro}"] * (micro > 1)) or "–", used
    return "does not fit", float("nan")


def row(preset: str, batch: int, machine: Machine, mfu: float) -> list[str]:
    m = model(preset)
    setting, used = fits(m, batch, machine)
    speed = machine.peak * machine.devices * mfu / (3 * m.flops)
    sent = 2 * 4 * m.parameters + 2.1 * 4 * batch * m.embedding
    step, network = batch / speed, sent / machine.link
    units, plain = plan_units(32, reuse=True)
    days = [n * units * m.flops / (machine.peak * machine.devices * mfu) / 86_400 for _, n in DATA]
    return [
        f"{preset}, {batch}",
        machine.name,
        setting,
        f"{used / GIB:.1f} of {machine.memory / GIB:.0f}",
        f"{speed:,.0f}",
        f"{1e3 * step:.0f}",
        f"{1e3 * network:.1f}",
        f"{speed / machine.hosts:,.0f}",
        " / ".join(f"{d:.2g}" for d in days),
        f"{units / plain:.2f}",
    ]


def utilisation(folder: Path) -> tuple[float, str]:
    """The share of the peak to reckon with, and where it comes from."""
    found = []
    for path in sorted(folder.glob("accelerator_*.json")):
        content = json.loads(path.read_text())
        for row in content["rows"]:
            if row.get("MFU %") and (row["framework"], row["objective"]) == OF_OURS:
                where = f"{path.name}, {row['preset']}, batch {row['batch']}, {content['device']}"
                found.append((row["MFU %"] / 100, f"measured ({where})"))
    return max(found, default=(ASSUMED, "assumed"))


def of_pairs(pairs: int, sizes: list[dict]) -> dict[str, str]:
    """What so many pairs ask of each host, from the two largest sizes that were measured.

    Memory and seconds are straight lines through these. Hosts hold scores and pools of all pairs,
    however many they are; the index lies once where all of them read it.

    Args:
      pairs: of the data.
      sizes: as `benchmarks.pairs` wrote them.
    """
    small, large = sizes[-2:]

    def line(figure: Callable[[dict], float]) -> float:
        slope = (figure(large) - figure(small)) / (large["pairs"] - small["pairs"])
        return figure(large) + slope * (pairs - large["pairs"])

    between = ("order", "pools of an epoch", "stages of an epoch", "save")
    return {
        "pairs": f"{pairs / 1e6:,.0f} M",
        "GiB a host": f"{line(lambda size: size['run_peak_bytes']) / GIB:.1f}",
        f"GiB remembered a device of {HOSTS * 8}": f"{4 * pairs / (HOSTS * 8) / GIB:.3f}",
        "index, GB": f"{pairs * large['index_bytes_a_pair'] / 1e9:.1f}",
        "pools, GB an epoch": f"{pairs * large['pools_file_bytes_a_pair'] / 1e9:.2f}",
        **{
            f"s, {name}": f"{line(lambda size: size['steps'][name]['seconds']):.0f}"  # noqa: B023
            for name in between
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mfu", type=float, help="share of the peak; default: measured, or 0.4")
    mfu, source = parser.parse_args().mfu, "as asked for"
    if mfu is None:
        mfu, source = utilisation(FOLDER)
    print(f"MFU {mfu:.1%}, {source}\n")
    print("| preset | parameters, M | forward, GFLOP a pair | train, GFLOP | kept a pair, MB |")
    print("|" + "---|" * 5)
    for preset in ("rn50", "vit_b32", "vit_b16", "vit_l14", "vit_h14"):
        m = model(preset)
        print(
            f"| {preset} | {m.parameters / 1e6:.1f} | {m.flops / 1e9:.1f} | "
            f"{3 * m.flops / 1e9:.1f} | {m.kept / 1e6:.0f} |"
        )
    names = ("model, batch", "machine", "needs", "GiB a device", "pairs/s", "ms a step")
    names += ("ms of network", "images/s a host", "days: " + " / ".join(n for n, _ in DATA))
    print("\n| " + " | ".join([*names, "× plain CLIP"]) + " |\n|" + "---|" * 10)
    for preset, batch, where in SETTINGS:
        for machine in MACHINES:
            if machine.name in where:
                print("| " + " | ".join(row(preset, batch, machine, mfu)) + " |")
    sizes = json.loads((FOLDER / "pairs.json").read_text())["rows"]
    print("\n" + markdown.table([of_pairs(pairs, sizes) for _, pairs in DATA]))
    print("\n| safe share | scoring anew, % of the steps | only pairs that did not train |")
    print("|---|---|---|")
    for safe in (0.2, 0.5, 0.7, 0.85, 0.95):
        steps = 3 * safe + 4 * (1 - safe)
        print(f"| {safe:.0%} | {100 / steps:.0f} | {100 * (1 - safe) / steps:.0f} |")


if __name__ == "__main__":
    main()
