"""Yang, Gao & Mirzasoleiman, "Better Safe than Sorry" (SafeCLIP), ICML 2024.

    --config=attacks/safeclip:targeted --config.defense=safeclip
    (badnets, label_consistent, blended, wanet)

Published: 1 M pairs of CC3M, RN50, 32 epochs, batch 512, peak rate 5e-4, poison rate 0.05 %,
16 chosen images in targeted poisoning (success in sixteenths).
"""

from safeclip_jax.runs.recipes import NOISE_BLENDED, NOISE_PATCH, PIXEL_WARP, recipe

ROWS = {
    "targeted": {"attack__kind": "targeted", "attack__images": 16, "attack__target": ""},
    "badnets": NOISE_PATCH,
    "label_consistent": {**NOISE_PATCH, "attack__kind": "label_consistent"},
    "blended": NOISE_BLENDED,
    "wanet": PIXEL_WARP,
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=32,
        batch_size=512,
        score__kind="cosine",
        safeclip__rule="paper",
        data__pairs=1_000_000,
        attack__rate=5e-4,
        attack__target="mushroom",
    )
