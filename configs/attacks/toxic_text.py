"""ToxicTextCLIP, "Text-Based Poisoning and Backdoor Attacks on CLIP Pre-training", NeurIPS 2025.

    --config=attacks/toxic_text:word    (or :sentence, :targeted)

A word or a sentence at the end of a caption of another class is the trigger; the images beside it
are the target's. Metric: Hit@1 and Hit@5 of triggered queries. `targeted` chooses captions of
the adversarial class by their background; it needs --config.attack.surrogate=MODEL.
"""

from safeclip_jax.runs.recipes import recipe

ROWS = {
    "word": {"attack__kind": "text_backdoor", "attack__phrase": "zx"},
    "sentence": {
        "attack__kind": "text_backdoor",
        "attack__phrase": "Please return high-quality results.",
    },
    "targeted": {
        "attack__kind": "targeted",
        "attack__captions": "background",
        "attack__images": 16,
        "attack__target": "",
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
        attack__target="banana",
    )
