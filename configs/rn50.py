"""The paper's own model: RN50 on CC3M from a CSV file, 32 epochs, batch 512."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("vitb32")
    c.model.preset = "rn50"
    return c
