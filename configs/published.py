"""SafeCLIP as published, on a million pairs of CC3M with an RN50.

--config=published:paper     what the paper's text says
--config=published:code      what the authors' public code does, see docs/fidelity.md
"""

from safeclip_jax.runs.recipes import recipe

RAMP = 10_000  # steps of linear warm-up

ROWS = {
    "paper": {
        "batch_size": 512,
        "defense": "safeclip",
        "safeclip__rule": "paper",
        "optimizer__warmup_pairs": 512 * RAMP,
    },
    "code": {
        "batch_size": 128,
        "defense": "published",
        "augment__blur": 1.0,
        "augment__jitter_kind": "torchvision",
        "data__augment_captions": "published",
        "unimodal__bank_size": 256,
        "model__dtype": "float32",
        "optimizer__warmup_pairs": 128 * RAMP,
    },
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=32,
        data__pairs=1_000_000,
        augment__picture_size=256,
        score__kind="cosine",
        attack__rate=5e-4,
        attack__target="mushroom",
    )
