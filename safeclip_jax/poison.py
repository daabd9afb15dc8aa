"""`python -m safeclip_jax.poison` writes a poisoned copy of a data set."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("poison")
