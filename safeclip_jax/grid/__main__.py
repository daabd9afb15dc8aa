"""`python -m safeclip_jax.grid` attacks × defences × seeds in one table."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("grid")
