"""`python -m safeclip_jax.poison` writes a poisoned copy of a data set."""

from safeclip_jax.commands import command_line, poison

if __name__ == "__main__":
    command_line.run(poison.main)
