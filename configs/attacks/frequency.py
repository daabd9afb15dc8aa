"""Triggers of classifiers and of self-supervised learning that hide in frequencies and levels.

    --config=attacks/frequency:ftrojan    (ctrl, bpp)

Published, in the public codes, on CIFAR-10: FTrojan (Wang et al., ECCV 2022), 5 % and m = 30;
CTRL (Li et al., ICCV 2023), 1 % with true labels and m = 100; BppAttack (Wang et al., CVPR 2022),
8 levels and 20 %. None of them attacks CLIP: training and target are those of attacks/huang.
"""

from safeclip_jax.runs.recipes import recipe

ROWS = {
    "ftrojan": {"attack__trigger": "ftrojan", "attack__rate": 0.05},
    "ctrl": {
        "attack__kind": "label_consistent",
        "attack__trigger": "ftrojan",
        "attack__ftrojan__magnitude": 100.0,
        "attack__rate": 0.01,
    },
    "bpp": {"attack__trigger": "bpp", "attack__rate": 0.2},
}


def get_config(row=""):
    return recipe(
        ROWS,
        row,
        epochs=32,
        batch_size=1024,
        optimizer__learning_rate=1e-3,
        optimizer__warmup_pairs=int(4.25 * 2_900_000),
        attack__target="banana",
    )
