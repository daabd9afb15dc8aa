"""Time and memory of train steps by batch, objective and devices, beside PyTorch.

    python -m benchmarks.steps --preset=vit_b32 --dtype=bfloat16 --batches 1024 256 4096 --peer
    JAX_NUM_CPU_DEVICES=8 python -m benchmarks.steps --preset=nano --size=32 --devices 1 2 4 8

Each case runs in a process of its own: one that runs out of memory is a row. With `--at-once`
several compile side by side, but only one at a time is timed, while the others wait.

Two steps are in flight, as in training; a row has the median of the times between their ends, with
the batch on the device, and once more with each batch sent from the host (`… sent`). MFU counts
the operations of the forward passes by XLA's analysis, and twice as many for each backward pass,
over the dense bf16 peak of a known device. `peak MiB` is what the allocator saw, the compiler's
trials of matrix products included; `compiler MiB` is what the compiled step asks for.

The peer, for the CLIP objective alone, is `benchmarks/torch_clip.py`: on a GPU the whole loss is
compiled and AdamW is fused.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import apart, forward_pass, markdown
from benchmarks.result_file import FOLDER, ResultFile
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.distributed import sharding
from safeclip_jax.models import attention, clip, remat
from safeclip_jax.objectives import OBJECTIVES
from safeclip_jax.objectives.chunked import Chunks
from safeclip_jax.objectives.objective import Settings
from safeclip_jax.system import cpu
from safeclip_jax.training.state import adamw
from safeclip_jax.training.steps import Steps

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "TPU v5 lite": 197e12, "TPU v4": 275e12}
CONTEXT, VOCABULARY, BANK = 77, 49_408, 65_536
# The policies of `model.remat`, `model.scan`, and XLA's attention where cuDNN's would be used.
VARIANTS = ("plain", *remat.POLICIES, "scan", "unfused")
COLUMNS = ("preset", "batch", "devices", "objective", "framework", "variant", "pairs/s", "MFU %",
           "ms", "pairs/s sent", "peak MiB", "compiler MiB", "build s")  # fmt: skip
Wait = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Case:
    """One row; `framework` is safeclip_jax or PyTorch, `devices` 0 for all of them."""

    preset: str
    size: int
    dtype: str
    batch: int
    objective: str = "clip"
    framework: str = "safeclip_jax"
    variant: str = "plain"
    devices: int = 0
    chunk: int = 0
    steps: int = 20


class Program(NamedTuple):
    """A compiled train step.

    Attributes:
      launch: starts a step, with the batch from the host if asked; returns what waits for its end.
      device: its kind.
      devices: how many.
      needs: bytes of device memory by the compiler, if it says.
      peak: most bytes of device memory in use so far, if known.
    """

    launch: Callable[[bool], Wait]
    device: str
    devices: int
    needs: int | None
    peak: Callable[[], int | None]


def config_of(preset: str, size: int) -> clip.CLIPConfig:
    return clip.configure(
        preset,
        image_size=size,
        context=CONTEXT,
        vocab_size=VOCABULARY,
        end_id=VOCABULARY - 1,
        activation="quick_gelu",
    )


def arrays(batch: int, size: int, views: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCABULARY - 2, (batch, views, CONTEXT), dtype=np.int32)
    tokens[:, :, -1] = VOCABULARY - 1
    return {
        "index": np.arange(batch, dtype=np.int32),
        "image": rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8),
        "tokens": tokens,
    }


def ours(case: Case) -> Program:
    devices = jax.devices()[: case.devices or None]
    if len(devices) < case.devices:
        sys.exit(f"error: {case.devices} devices are asked for, and there are {len(devices)}")
    mesh = sharding.make_mesh(1, devices)
    config, variant = config_of(case.preset, case.size), case.variant
    if variant == "unfused":
        attention.has_fused = lambda *shapes: False
    bank = max(BANK // case.batch, 1) * case.batch
    chunks = Chunks(case.chunk, mesh) if case.chunk else None
    again = variant if variant in remat.POLICIES else "none"
    model = clip.CLIP(config, jnp.dtype(case.dtype), again, scan=variant == "scan")
    settings = Settings(ImageAugmentation(), bank, chunks)
    steps = Steps(model, adamw(0.9, 0.999, 0.1), settings, mesh, 0)
    objective = OBJECTIVES[case.objective]
    kind = objective, not objective.plain
    batch = arrays(case.batch, case.size, objective.views)
    state = steps.init(case.batch, objectives=[objective])
    compiled = steps.lower_train(kind, state, case.batch).compile()
    placed = sharding.to_devices(batch, mesh)
    rate, place = np.float32(1e-4), np.zeros(2, np.int32)

    def launch(from_host: bool = False) -> Wait:
        nonlocal state
        inputs = sharding.to_devices(batch, mesh) if from_host else placed
        state, metrics = compiled(state, inputs, rate, place)
        return partial(jax.block_until_ready, metrics)

    memory: Any = compiled.memory_analysis()
    needs = memory.temp_size_in_bytes + memory.argument_size_in_bytes

    def peak() -> int | None:
        return (devices[0].memory_stats() or {}).get("peak_bytes_in_use")

    return Program(launch, devices[0].device_kind, len(devices), needs, peak)


def peer(case: Case) -> Program:
    """PyTorch's step of the CLIP objective; without compilation on a CPU."""
    import torch

    from benchmarks import torch_clip

    gpu = torch.cuda.is_available()
    device, dtype = "cuda" if gpu else "cpu", getattr(torch, case.dtype)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # as JAX does by default
    model = torch_clip.CLIP(config_of(case.preset, case.size), dtype).to(device).train()
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch_clip.make_optimizer(model, fused=gpu)
    loss_of = torch.compile(model) if gpu else model
    data = arrays(case.batch, case.size, 1)
    pixels, tokens = (torch.from_numpy(data[name]) for name in ("image", "tokens"))
    host = [pixels, tokens[:, 0].long()]
    host = [x.pin_memory() for x in host] if gpu else host
    placed = [x.to(device) for x in host]

    def launch(from_host: bool = False) -> Wait:
        inputs = [x.to(device, non_blocking=True) for x in host] if from_host else placed
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = loss_of(inputs[0].permute(0, 3, 1, 2), inputs[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch_clip.clamp_scale(model)
        end = torch.cuda.Event() if gpu else None
        if end is None:
            return lambda: None
        end.record()
        return end.synchronize

    launch()()  # compiles
    kind = torch.cuda.get_device_name() if gpu else "cpu"
    return Program(launch, kind, 1, None, torch.cuda.max_memory_allocated if gpu else lambda: None)


def intervals(launch: Callable[[], Wait], count: int) -> list[float]:
    """Seconds from the end of a step to that of the next, with two in flight, after two more."""
    waiting, ends = launch(), []
    for _ in range(count + 2):
        following = launch()
        waiting()
        ends.append(time.perf_counter())
        waiting = following
    waiting()
    return [float(x) for x in np.diff(ends[1:])]


def measure(case: Case) -> dict[str, Any]:
    """The row of a case; only one process at a time measures, and meanwhile none compiles."""
    start = time.perf_counter()
    with open(__file__) as turn:
        fcntl.flock(turn, fcntl.LOCK_SH)
        begun = time.perf_counter()
        program = ours(case) if case.framework == "safeclip_jax" else peer(case)
        built = time.perf_counter() - begun
        fcntl.flock(turn, fcntl.LOCK_EX)
        times = intervals(partial(program.launch, False), case.steps)
        sent = intervals(partial(program.launch, True), case.steps)
    median, needs, most = statistics.median(times), program.needs, program.peak()
    return {
        "device": program.device,
        "devices": program.devices,
        "pairs/s": round(case.batch / median, 1),
        "ms": round(1e3 * median, 2),
        "least ms": round(1e3 * min(times), 2),
        "most ms": round(1e3 * max(times), 2),
        "pairs/s sent": round(case.batch / statistics.median(sent), 1),
        "peak MiB": most and round(most / 2**20),
        "compiler MiB": needs and round(needs / 2**20),
        "build s": round(built, 1),
        "whole s": round(time.perf_counter() - start, 1),
    }


def utilisation(case: dict[str, Any], result: dict[str, Any]) -> dict[str, float]:
    """MFU in % of a case that ran on a known device."""
    peak = next((x for name, x in PEAKS.items() if name in result.get("device", "")), None)
    if peak is None:
        return {}
    chosen = OBJECTIVES[case["objective"]]
    cost = forward_pass.cost(config_of(case["preset"], case["size"]))
    operations = (3 * chosen.views - 2 * chosen.fixed) * cost.flops
    return {"MFU %": round(100 * operations * result["pairs/s"] / peak / result["devices"], 1)}


def cases(args: argparse.Namespace) -> Iterator[Case]:
    of = partial(Case, args.preset, args.size, args.dtype, steps=args.steps)
    for batch in args.batches:
        for objective in args.objectives:
            for devices in args.devices:
                for variant in args.variants:
                    yield of(batch, objective, variant=variant, devices=devices, chunk=args.chunk)
        if args.peer:
            yield of(batch, framework="PyTorch", devices=1)


def shown(rows: list[dict]) -> list[dict]:
    """The columns of the rows' table; the last says how many times as fast as the peer it is."""
    theirs = {row["batch"]: row.get("pairs/s") for row in rows if row["framework"] == "PyTorch"}
    found = []
    for row in rows:
        rate, other = row.get("pairs/s"), theirs.get(row["batch"])
        ratio = round(rate / other, 2) if rate and other and row["objective"] == "clip" else None
        values = {name: row.get(name) for name in COLUMNS} | {"× PyTorch": ratio}
        values["ms"] = row.get("error") or f"{row['ms']} ({row['least ms']} to {row['most ms']})"
        found.append({name: "–" if x is None else x for name, x in values.items()})
    return found


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m benchmarks.steps", description=__doc__.splitlines()[0]
    )
    made.add_argument("--preset", default="vit_b32")
    made.add_argument("--size", type=int, default=224, help="side of the images")
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--batches", type=int, nargs="+", default=[64])
    made.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    made.add_argument("--variants", nargs="+", default=["plain"], choices=VARIANTS)
    made.add_argument("--devices", type=int, nargs="+", default=[0], help="0: all")
    made.add_argument("--chunk", type=int, default=0, help="loss_chunk")
    made.add_argument("--steps", type=int, default=20, help="timed in each case")
    made.add_argument("--peer", action="store_true", help="PyTorch's CLIP step as well")
    made.add_argument("--at-once", type=int, default=1, help="processes that compile")
    made.add_argument("--seconds", type=float, default=3600, help="for everything")
    made.add_argument("--json", type=Path, default=FOLDER / "steps.json")
    made.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    return made


def main() -> None:
    args = parser().parse_args()
    cpu.keep_freed_memory()
    cpu.allow_many_devices(jax.config.values["jax_num_cpu_devices"])
    if args.case:
        print(json.dumps(measure(Case(**args.case))))
        return
    apart.stop_on_sigterm()
    jax.config.update("jax_platforms", "cpu")  # the accelerator is for the cases
    found = ResultFile(args.json)
    runner = apart.Runner("benchmarks.steps", apart.Deadline(args.seconds))
    wanted = [dataclasses.asdict(case) for case in cases(args)]
    for case, result in runner.all(wanted, args.at_once):
        found.add(case | result | utilisation(case, result))
    print(f"\n{markdown.table(shown(found.rows))}\n\n{found.path}")


if __name__ == "__main__":
    main()
