"""`python -m safeclip_jax.evaluate` evaluates trained models."""

from safeclip_jax.commands import command_line, evaluate

if __name__ == "__main__":
    command_line.run(evaluate.main)
