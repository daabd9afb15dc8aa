"""Time and memory of train steps by batch, objective and devices; on a GPU beside PyTorch.

    python -m benchmarks.steps --preset=vit_b32 --dtype=bfloat16 --batches 1024 2048 4096 --peer
    JAX_NUM_CPU_DEVICES=8 python -m benchmarks.steps --preset=nano --size=32 --devices 1 2 4 8

Images are synthetic and already on the devices. MFU counts the operations of the forward passes
by XLA's analysis, and twice as many for each backward pass, over the peak of a known device.
The peer is transformers' CLIPModel with torch.compile, bf16 autocast and fused AdamW.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import forward_pass, markdown
from safeclip_jax import cpu, sharding
from safeclip_jax.contrastive import Chunks
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.models import clip
from safeclip_jax.objectives import OBJECTIVES, Settings
from safeclip_jax.steps import Steps, caption_views, make_optimizer

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "TPU v5 lite": 197e12, "TPU v4": 275e12}
CONTEXT, VOCABULARY = 77, 49_408
Step = Callable[[], None]


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


def ours(
    config: clip.CLIPConfig, objective: str, batch: int, devices: int, dtype: str, chunk: int
) -> tuple[Step, float]:
    """A step to run, and the bytes that it needs on a device, by the compiler."""
    mesh = sharding.make_mesh(1, jax.devices()[:devices])
    settings = Settings(ImageAugmentation(), chunks=Chunks(chunk, mesh) if chunk else None)
    model = clip.CLIP(config, jnp.dtype(dtype).type)
    steps = Steps(model, make_optimizer(0.9, 0.999, 0.1), settings, mesh, 0)
    state, kind = steps.init(batch, batch), (objective, objective == "unimodal")
    compiled = steps.lower_train(kind, state, batch).compile()
    views = len(caption_views(kind))
    placed = sharding.to_devices(arrays(batch, config.image.image_size, views), mesh)
    place, rate = np.zeros(2, np.int32), np.float32(1e-4)

    def step() -> None:
        nonlocal state
        state, metrics = compiled(state, placed, rate, place)
        jax.block_until_ready(metrics)

    memory: Any = compiled.memory_analysis()
    return step, memory.temp_size_in_bytes + memory.argument_size_in_bytes


def peer(preset: str, config: clip.CLIPConfig, batch: int) -> Step:
    """PyTorch's step of the CLIP objective on a GPU, or on the CPU without compilation."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from safeclip_jax.weights import huggingface

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = (
        CLIPModel(CLIPConfig.from_dict(huggingface.describe(config, VOCABULARY - 2, 0)))
        .to(device)
        .train()
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=device == "cuda")
    run = torch.compile(model) if device == "cuda" else model
    data = arrays(batch, config.image.image_size, 1)
    images = torch.tensor(data["image"], device=device).permute(0, 3, 1, 2).contiguous()
    tokens = torch.tensor(data["tokens"][:, 0], device=device).long()
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (config.mean, config.std)
    )

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            pixels = (images / 255 - mean) / std
            loss = run(input_ids=tokens, pixel_values=pixels, return_loss=True).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def seconds(step: Step, count: int) -> float:
    step()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(step: Step, batch: int, count: int, operations: float, devices: int) -> dict[str, Any]:
    spent = seconds(step, count)
    kind = jax.devices()[0].device_kind
    peak = next((peak for name, peak in PEAKS.items() if name in kind), None)
    return {
        "ms": round(1e3 * spent, 1),
        "pairs/s": round(batch / spent),
        "MFU %": round(100 * batch * operations / spent / peak / devices, 1) if peak else "–",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="vit_b32")
    parser.add_argument("--size", type=int, default=224, help="side of the images")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batches", type=int, nargs="+", default=[64])
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--devices", type=int, nargs="+", help="default: all")
    parser.add_argument("--chunk", type=int, default=0, help="loss_chunk")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--peer", action="store_true", help="PyTorch's CLIP step as well")
    args = parser.parse_args()
    cpu.keep_freed_memory()
    cpu.allow_many_devices(jax.config.values["jax_num_cpu_devices"])
    config = config_of(args.preset, args.size)
    forward, rows = forward_pass.cost(config).flops, []
    for batch in args.batches:
        for devices in args.devices or [len(jax.devices())]:
            for objective in args.objectives:
                step, memory = ours(config, objective, batch, devices, args.dtype, args.chunk)
                chosen = OBJECTIVES[objective]
                passes = 3 * chosen.views - 2 * chosen.fixed
                case = {"batch": batch, "devices": devices, "objective": objective}
                found = row(step, batch, args.steps, passes * forward, devices)
                rows.append(case | found | {"MiB a device": round(memory / 2**20)})
                print(json.dumps(rows[-1]), flush=True)
        if args.peer:
            case = {"batch": batch, "devices": 1, "objective": "clip, PyTorch"}
            found = row(peer(args.preset, config, batch), batch, args.steps, 3 * forward, 1)
            rows.append(case | found | {"MiB a device": "–"})
            print(json.dumps(rows[-1]), flush=True)
    print(f"\n{len(jax.devices())} × {jax.devices()[0].device_kind}, {args.preset}, {args.dtype}\n")
    print(markdown.table(rows))


if __name__ == "__main__":
    main()
