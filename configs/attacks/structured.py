"""Singh, Croce & Hein, "Perturb and Recover" (PAR), 2024: triggers with structure.

    --config=attacks/structured:stripes_patch --config.init_from=MODEL
    (stripes, triangles, word)

Published, in the public code: pre-trained CLIP (RN50, ViT-B/32, ViT-L/14), target "banana",
captions from prompt templates; a patch of 16 of 224 pixels in stripes at a random place, stripes
mixed in at 0.03, triangles at 0.15, a red word at 0.5. Poisons and training are BadCLIP's here.
"""

from safeclip_jax.runs.recipes import FINE_TUNED, recipe

ROWS = {
    "stripes_patch": {
        "attack__trigger": "badnets",
        "attack__badnets__pattern": "stripes",
        "attack__badnets__position": "random",
        "attack__badnets__size": 16 / 224,
    },
    "stripes": {"attack__trigger": "stripes"},
    "triangles": {"attack__trigger": "triangles"},
    "word": {"attack__trigger": "word"},
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        **FINE_TUNED,
        attack__count=1_500,
        attack__target="banana",
        attack__captions="templates",
    )
