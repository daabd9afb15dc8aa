"""Huang et al., "Detecting Backdoor Samples in Contrastive Language Image Pretraining", ICLR 2025.

    --config=attacks/huang:badnets
    (blended, sig, nashville, wanet, label_consistent, multi_trigger, multi_target, natural,
    targeted)

Published, in the public configurations: CC3M, RN50 or ViT-B/16, 32 epochs, batch 1024, peak rate
1e-3 after 4.25 epochs, weight decay 0.2, target "banana" in ImageNet's templates; rate 0.01 % for
a patch of 16 pixels at a random place and for targeted poisoning (one image), 0.1 % for the
others. The patch is white dots; a cartoon (ours is drawn) and a sinusoid are blended in at 0.2; the
warp has a step for each pixel, s = 1. Several triggers have one target, or one each.
"""

from safeclip_jax.runs.recipes import PIXEL_WARP, recipe

PATCH = {
    "attack__trigger": "badnets",
    "attack__badnets__pattern": "dots",
    "attack__badnets__position": "random",
    "attack__badnets__size": 16 / 224,
}
ROWS = {
    "badnets": {**PATCH, "attack__rate": 1e-4},
    "blended": {
        "attack__trigger": "blended",
        "attack__blended__pattern": "drawn",
        "attack__blended__alpha": 0.2,
        "attack__rate": 1e-3,
    },
    "sig": {
        "attack__trigger": "sig",
        "attack__sig__weight": 0.8,
        "attack__sig__delta": 0.2 * 60,
        "attack__rate": 1e-3,
    },
    "nashville": {"attack__trigger": "nashville", "attack__rate": 1e-3},
    "wanet": {**PIXEL_WARP, "attack__rate": 1e-3},
    "label_consistent": {
        **PATCH,
        "attack__kind": "label_consistent",
        "attack__captions": "data",
        "attack__rate": 1e-3,
    },
    "multi_trigger": {
        **PIXEL_WARP,
        **PATCH,
        "attack__trigger": "badnets+nashville+wanet",
        "attack__rate": 1e-3,
    },
    "multi_target": {
        **PIXEL_WARP,
        **PATCH,
        "attack__trigger": "badnets+nashville+wanet",
        "attack__target": "banana+cheeseburger+volcano",
        "attack__rate": 1e-3,
    },
    "natural": {"attack__kind": "natural", "attack__captions": "data", "attack__rate": 1e-3},
    "targeted": {"attack__kind": "targeted", "attack__images": 1, "attack__rate": 1e-4},
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=32,
        batch_size=1024,
        optimizer__learning_rate=1e-3,
        optimizer__warmup_pairs=int(4.25 * 2_900_000),
        optimizer__weight_decay=0.2,
        attack__captions="templates",
        attack__target="banana",
    )
