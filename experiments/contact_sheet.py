"""What do the triggers look like? A contact sheet at 32 and 224 pixels, clean beside poisoned.

    python -m experiments.contact_sheet --out docs/triggers.png

The third picture of each size is the difference, ×3, on gray.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from safeclip_jax.attacks.triggers import (
    Blend,
    ColorCurve,
    Dither,
    Frequency,
    Patch,
    Sinusoid,
    Stripes,
    Triangles,
    Trigger,
    Warp,
    Word,
)
from safeclip_jax.data.sources.scenes import Scenes

SIZES = (32, 224)
SHOWN: dict[str, Trigger] = {
    "badnets\ncheckerboard, 1/14": Patch(),
    "badnets\ncheckerboard, 1/8": Patch(size=0.125),
    "badnets, noise\nrandom place": Patch("noise", "random"),
    "badnets, noise\nfour corners": Patch("noise", "four_corners"),
    "badnets\nwhite, 50 of 224": Patch("white", size=50 / 224),
    "badnets, stripes\n1/8": Patch("stripes", size=0.125),
    "blended\nα = 0.2": Blend(),
    "blended, drawn\nα = 0.2": Blend(pattern="drawn"),
    "sig\nΔ = 60, f = 6": Sinusoid(),
    "sig\nΔ = 12, weight 0.8": Sinusoid(12.0, weight=0.8),
    "wanet\nk = 4, s = 0.5": Warp(),
    "wanet\nk = 4, s = 5": Warp(strength=5.0),
    "nashville\nstrength 1": ColorCurve(),
    "stripes\nα = 0.03": Stripes(),
    "triangles\nα = 0.15": Triangles(),
    "word\nα = 0.5": Word(),
    "ftrojan\nm = 30": Frequency(),
    "bpp\n8 levels": Dither(),
}


def draw() -> Figure:
    scenes = {size: Scenes(2, 11, size=size) for size in SIZES}
    figure = Figure(figsize=(9, 1.25 * len(SHOWN)), layout="constrained")
    axes = figure.subplots(len(SHOWN), 6)
    for row, (name, trigger) in zip(axes, SHOWN.items(), strict=True):
        for first, size in ((0, 32), (3, 224)):
            clean = scenes[size].image(0)
            poisoned = trigger(clean, 0)
            difference = 127 + 3 * (poisoned.astype(int) - clean)
            pictures = clean, poisoned, np.clip(difference, 0, 255).astype(np.uint8)
            for place, picture in zip(row[first : first + 3], pictures, strict=True):
                place.imshow(picture, interpolation="nearest")
                place.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    titles = [t for size in SIZES for t in (f"clean, {size} px", "poisoned", "difference × 3")]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=9)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/triggers.png"))
    out = parser.parse_args().out
    draw().savefig(out, dpi=90)
    print(f"written to {out}")
