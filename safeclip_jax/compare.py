"""`python -m safeclip_jax.compare` shows two finished runs side by side."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("compare")
