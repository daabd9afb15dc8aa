"""Yang, Gao & Mirzasoleiman, "Better Safe than Sorry" (SafeCLIP), ICML 2024.

    --config=configs/attacks/safeclip.py:targeted --config.defense=safeclip
    (badnets, label_consistent, blended, wanet)

Published: 1 M pairs of CC3M, RN50, 32 epochs, batch 512, peak rate 5e-4, poison rate 0.05 %,
16 chosen images in targeted poisoning (success in sixteenths).
"""

from configs.attacks.cc3m import recipe

PATCH = {
    "attack__trigger": "badnets",
    "attack__badnets__pattern": "noise",
    "attack__badnets__position": "random",
    "attack__badnets__size": 16 / 224,
}
ROWS = {
    "targeted": {"attack__kind": "targeted", "attack__images": 16, "attack__target": ""},
    "badnets": PATCH,
    "label_consistent": {**PATCH, "attack__kind": "label_consistent"},
    "blended": {"attack__trigger": "blended", "attack__blended__alpha": 0.2},
    "wanet": {
        "attack__trigger": "wanet",
        "attack__wanet__grid": 224,
        "attack__wanet__strength": 32 / 224,  # s = 1 at 224 pixels
    },
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=32,
        batch_size=512,
        data__pairs=1_000_000,
        attack__rate=5e-4,
        attack__target="mushroom",
    )
