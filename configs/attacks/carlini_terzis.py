"""Carlini & Terzis, "Poisoning and Backdooring Contrastive Learning", ICLR 2022.

    --config=attacks/carlini_terzis:backdoor    (or :targeted)

Published: CC3M, RN50; 300 poisons of 3 M pairs for the backdoor (a patch of 16 of 224 pixels),
3 poisons for one chosen image; metric: share of ImageNet's validation images, triggered, or
chosen images that get the adversarial label.
"""

from safeclip_jax.runs.recipes import recipe

ROWS = {
    "backdoor": {
        "attack__trigger": "badnets",
        "attack__count": 300,
        "attack__badnets__pattern": "checkerboard",
        "attack__badnets__position": "top_left",
        "attack__badnets__size": 16 / 224,
        "attack__target": "basketball",
    },
    "targeted": {
        "attack__kind": "targeted",
        "attack__count": 3,
        "attack__images": 1,
        "attack__target": "",
    },
}


def get_config(row=""):
    return recipe(ROWS, row, epochs=30, batch_size=1024)
