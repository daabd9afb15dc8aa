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

from benchmarks import steps
from safeclip_jax.models import clip
from safeclip_jax.system import cpu
from safeclip_jax.system.terminal import console
from safeclip_jax.weights import huggingface

SIZE = 224
Step = Callable[[], None]


def ours(preset: str, size: int) -> Step:
    launch = steps.ours(steps.Case(preset, SIZE, "float32", size, devices=1)).launch
    return lambda: launch(False)()


def theirs(preset: str, size: int) -> Step:
    """transformers' CLIPModel or open_clip's ResNet."""
    data, config = steps.arrays(size, SIZE, 1), clip.PRESETS[preset]
    pixels = np.asarray(config.normalize(np.float32(data["image"]) / 255)).transpose(0, 3, 1, 2)
    pictures = torch.tensor(np.ascontiguousarray(pixels))
    ids = torch.tensor(data["tokens"][:, 0]).long()
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

        shape = huggingface.describe(config, steps.VOCABULARY - 2, 0)
        for tower in ("text_config", "vision_config"):
            shape[tower]["hidden_act"] = "quick_gelu"
        model = CLIPModel(CLIPConfig.from_dict(shape)).train()

        def loss_of() -> torch.Tensor:
            return model(pixel_values=pictures, input_ids=ids, return_loss=True).loss

    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.1)

    def step() -> None:
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()

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
