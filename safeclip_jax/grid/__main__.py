"""`python -m safeclip_jax.grid` attacks × defences × seeds in one table."""

from safeclip_jax.commands import command_line, grid

if __name__ == "__main__":
    command_line.run(grid.main)
