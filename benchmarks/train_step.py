"""One float32 train step beside the same model in PyTorch: forward, backward, AdamW.

    python -m benchmarks.train_step --model=vit_b32     # needs torch
    python -m benchmarks.train_step --model=rn50        # needs open_clip_torch, torchvision

Both take turns in one process, with the same batch, on all cores; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import torch
from rich.table import Table

from safeclip_jax import cpu, sharding
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.logs import console
from safeclip_jax.models import clip
from safeclip_jax.objectives import Settings
from safeclip_jax.steps import Steps, make_optimizer
from safeclip_jax.weights import huggingface

CONTEXT, VOCABULARY = 77, 49_408
Step = Callable[[], float]  # takes one step and returns its loss


def batch_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, 224, 224, 3), dtype=np.uint8)
    tokens = rng.integers(1, VOCABULARY - 2, (size, CONTEXT), dtype=np.int32)
    tokens[:, 0], tokens[:, 20:] = VOCABULARY - 2, 0
    tokens[:, 20] = VOCABULARY - 1
    return images, tokens


def ours(preset: str, size: int) -> Step:
    config = clip.configure(
        preset,
        image_size=224,
        context=CONTEXT,
        vocab_size=VOCABULARY,
        end_id=VOCABULARY - 1,
        activation="quick_gelu",
    )
    mesh = sharding.make_mesh()
    settings = Settings(ImageAugmentation())
    steps = Steps(clip.CLIP(config), make_optimizer(0.9, 0.999, 0.1), settings, mesh, 0)
    state = steps.init(size, size)
    images, tokens = batch_of(size)
    index, asked = np.arange(size, dtype=np.int32), np.zeros(size, np.int32)
    batch = {"image": images, "tokens": tokens[:, None], "index": index, "asked": asked}
    placed, place = sharding.to_devices(batch, mesh), np.zeros(2, np.int32)
    train_step = steps.train("clip", False)

    def step() -> float:
        nonlocal state
        state, metrics = train_step(state, placed, np.float32(1e-4), place)
        return float(metrics["loss"])

    return step


def theirs(preset: str, size: int) -> Step:
    """transformers' CLIPModel or open_clip's ResNet."""
    images, tokens = batch_of(size)
    config = clip.PRESETS[preset]
    pixels = np.asarray(config.normalize(np.float32(images) / 255)).transpose(0, 3, 1, 2)
    pictures, ids = torch.tensor(np.ascontiguousarray(pixels)), torch.tensor(tokens).long()
    if isinstance(config.image, clip.ResNetConfig):
        import open_clip

        model = open_clip.create_model("RN50-quickgelu").train()

        def loss_of() -> torch.Tensor:
            image, text, scale = model(pictures, ids)
            logits, target = scale * image @ text.T, torch.arange(size)
            entropy = torch.nn.functional.cross_entropy
            return (entropy(logits, target) + entropy(logits.T, target)) / 2
    else:
        from transformers import CLIPConfig, CLIPModel

        shape = huggingface.describe(config, VOCABULARY - 2, 0)
        for tower in ("text_config", "vision_config"):
            shape[tower]["hidden_act"] = "quick_gelu"
        model = CLIPModel(CLIPConfig.from_dict(shape)).train()

        def loss_of() -> torch.Tensor:
            return model(pixel_values=pictures, input_ids=ids, return_loss=True).loss

    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.1)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--model", default="vit_b32", choices=["vit_b32", "rn50"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    cpu.keep_freed_memory()  # as every command of the program does; PyTorch has it too
    contestants = {
        "safeclip_jax": ours(arguments.model, arguments.batch),
        "PyTorch": theirs(arguments.model, arguments.batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(arguments.steps + 2):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            if number > 1:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    table = Table("", "pairs/s", "seconds a step, median (least to most)", title=arguments.model)
    for name, median in medians.items():
        spread = f"{median:.2f} ({min(seconds[name]):.2f} to {max(seconds[name]):.2f})"
        table.add_row(name, f"{arguments.batch / median:.2f}", spread)
    console().print(table)
    ratio = medians["PyTorch"] / medians["safeclip_jax"]
    versions = {"jax": jax.__version__, "torch": torch.__version__, "cores": cores}
    print(json.dumps({"model": arguments.model, "ratio": round(ratio, 3), **medians, **versions}))


if __name__ == "__main__":
    main()
