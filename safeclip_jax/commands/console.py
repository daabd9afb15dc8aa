"""`safeclip-jax COMMAND …`: the installed program."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from safeclip_jax import __version__
from safeclip_jax.commands import command_line
from safeclip_jax.errors import UserError, nearest

COMMANDS = {
    "train": "trains CLIP, defended or not",
    "poison": "writes a poisoned copy of a data set",
    "grid": "attacks × defences × seeds, in one table",
    "evaluate": "evaluates trained models",
    "audit": "tells which pairs of a data set are poisoned",
    "prepare": "writes data once in the form that trains fastest",
    "export": "writes a trained model for another program",
    "import": "takes in another program's model",
}
_MODULES = {"import": "import_"}  # where the command's name can be none


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    program = command_line.PROGRAM
    return "\n".join(
        [
            f"usage: {program} COMMAND …",
            "",
            "CLIP pre-training that stays safe when the scraped data is poisoned.",
            "",
            *lines,
            "",
            f"{program} COMMAND --help says more.   first try: {program} train --config=demo",
        ]
    )


def command(name: str) -> ModuleType:
    """The module of a command, with its `main`."""
    return importlib.import_module(f"safeclip_jax.commands.{_MODULES.get(name, name)}")


def main(argv: Sequence[str]) -> int:
    """Runs the command that the first argument names with all further ones."""
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name in ("-V", "--version"):
        print(f"{command_line.PROGRAM} {__version__}")
        return 0
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS) or f": the commands are {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}{hint}")
    return command(name).main(rest)


def cli() -> None:
    """Runs the program with its arguments."""
    command_line.run(main)
