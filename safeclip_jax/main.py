"""`python -m safeclip_jax.main` trains CLIP, defended or not."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("train")
