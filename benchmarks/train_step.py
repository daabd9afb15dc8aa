"""One float32 train step beside the same model in PyTorch: forward, backward, AdamW.

    python -m benchmarks.train_step                   # writes results/train_step.json
    python -m benchmarks.train_step --models vit_b32  # without open_clip_torch and torchvision

Both take turns in one process, with the same batch, on all cores; the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import markdown, steps
from benchmarks.result_file import FOLDER, ResultFile, host
from safeclip_jax.models import clip
from safeclip_jax.system import cpu
from safeclip_jax.weights import huggingface

SIZE = 224
PEERS = {"vit_b32": "transformers' CLIPModel", "rn50": "open_clip"}
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
    if preset == "rn50":
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


def compared(preset: str, size: int, count: int) -> dict[str, Any]:
    """Both on so many steps in turn, after two that are not counted."""
    contestants = {"": ours(preset, size), "peer_": theirs(preset, size)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(count + 2):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            if number > 1:
                seconds[name].append(time.perf_counter() - start)
    row: dict[str, Any] = {"model": preset, "peer": PEERS[preset], "batch": size, "steps": count}
    for name, found in seconds.items():
        row[f"{name}seconds"] = round(statistics.median(found), 3)
        row[f"{name}least_to_most"] = [round(min(found), 3), round(max(found), 3)]
    return row | {"times_the_peer": round(row["peer_seconds"] / row["seconds"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=FOLDER / "train_step.json")
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    cpu.keep_freed_memory()  # as every command of the program does; PyTorch has it too
    file = ResultFile(arguments.out)
    for preset in arguments.models:
        row = compared(preset, arguments.batch, arguments.steps)
        file.add(row | {"device": host()})
    print(markdown.table(file.rows))


if __name__ == "__main__":
    main()
