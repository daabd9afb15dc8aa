"""`python -m safeclip_jax.import` takes in another program's model."""

from safeclip_jax.commands import command_line, import_

if __name__ == "__main__":
    command_line.run(import_.main)
