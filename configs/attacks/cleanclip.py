"""Bansal et al., "CleanCLIP", ICCV 2023: pre-training on poisoned pairs, then fine-tuning.

    --config=attacks/cleanclip:badnets    (blended, wanet, label_consistent)
    --config=cleanclip --config.init_from=RUN    for the defence

Published: CC3M, RN50, 64 epochs, batch 128, peak rate 5e-4, 1,500 poisons, target "banana",
captions from prompt templates; triggers of its public code: a Gaussian-noise patch of 16
pixels at a random place, uniform noise blended at 0.2, a warp with k = 224 and s = 1.
"""

from safeclip_jax.runs.recipes import NOISE_BLENDED, NOISE_PATCH, PIXEL_WARP, recipe

ROWS = {
    "badnets": NOISE_PATCH,
    "blended": NOISE_BLENDED,
    "wanet": PIXEL_WARP,
    "label_consistent": {
        **NOISE_PATCH,
        "attack__kind": "label_consistent",
        "attack__captions": "data",
    },
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=64,
        batch_size=128,
        optimizer__warmup_pairs=10_000 * 128,
        attack__count=1_500,
        attack__target="banana",
        attack__captions="templates",
    )
