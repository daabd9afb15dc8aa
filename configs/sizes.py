"""vitb32.py with another model: `sizes:rn101`, `sizes:vit_l14_336` …"""

import safeclip_jax

_SIZES = {
    "vit_ti16": 224,
    "vit_s32": 224,
    "vit_s16": 224,
    "vit_b32": 224,
    "vit_b16": 224,
    "vit_l14": 224,
    "vit_l14_336": 336,
    "vit_h14": 224,
    "rn50": 224,
    "rn101": 224,
    "rn50x4": 288,
}


def get_config(name="vit_b16"):
    if name not in _SIZES:
        raise ValueError(f"sizes:{name} is not known: {', '.join(_SIZES)}")
    c = safeclip_jax.config("vitb32")
    c.model.preset = name.removesuffix("_336")
    c.model.image_size = _SIZES[name]
    c.augment.picture_size = _SIZES[name] * 8 // 7
    return c
