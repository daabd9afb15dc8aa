"""Yang, Gao & Mirzasoleiman, "Robust Contrastive Language-Image Pretraining", NeurIPS 2023.

    --config=attacks/roclip:targeted --config.defense=roclip    (or :backdoor)

Published: RN50, 24 epochs and batch 512 in the public code, a bank of 21,845 captions, matching
every second epoch, 16 chosen images (success in sixteenths); rate: a peak of 5e-5 there.
"""

from safeclip_jax.runs.recipes import NOISE_PATCH, recipe

ROWS = {
    "targeted": {
        "attack__kind": "targeted",
        "attack__images": 16,
        "attack__target": "",
        "attack__rate": 5e-4,
    },
    "backdoor": {
        **NOISE_PATCH,
        "attack__rate": 5e-4,
        "attack__target": "mushroom",
    },
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=24,
        batch_size=512,
        data__pairs=1_000_000,
        optimizer__learning_rate=5e-5,
        optimizer__warmup_pairs=10_000 * 512,
        unimodal__bank_size=21_504,  # the multiple of 512 next to 21,845
    )
