"""Liang et al., "BadCLIP: Dual-Embedding Guided Backdoor Attack", CVPR 2024.

    --config=attacks/badclip --config.init_from=MODEL --config.attack.surrogate=MODEL

Published, in the public code: OpenAI's RN50, 10 epochs on 500,000 pairs of CC3M, batch 128, rate
1e-6, 1,500 poisons under natural captions that name "banana"; a patch of 16 of 224 pixels in the
middle, from 50 epochs of 10,000 images in batches of 64, Adam at 1e-3, on the same model.
"""

from safeclip_jax.runs.recipes import FINE_TUNED, recipe

ROWS = {
    "optimized": {
        "attack__trigger": "badclip",
        "attack__badclip__size": 16 / 224,
        "attack__badclip__steps": 7_800,
        "attack__badclip__batch": 64,
        "attack__badclip__learning_rate": 1e-3,
    },
}


def get_config(row=""):
    return recipe(ROWS, row, **FINE_TUNED, attack__count=1_500, attack__target="banana")
