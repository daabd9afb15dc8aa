"""The paper's own model: RN50 on CC3M from a CSV file, 32 epochs, batch 512."""

from configs import vitb32


def get_config():
    c = vitb32.get_config()
    c.model.preset = "rn50"
    return c
