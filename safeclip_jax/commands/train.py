"""`safeclip-jax train`: trains CLIP, defended or not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeclip_jax.commands import command_line
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.system import host

if TYPE_CHECKING:
    from safeclip_jax.runs.settings import RunSettings

_EXAMPLES = """
--config=demo
--config=demo --config.defense=none
--config=vitb32 --config.data.source=csv:pairs.csv --workdir=runs/mine
"""
_MORE = """
The same command on the same folder goes on where it stopped.

every key, its default (a config may change it) and its meaning:
"""


def _parser() -> Parser:
    made = command_line.parser("train", "Trains CLIP, defended or not.", _EXAMPLES)
    add = made.add_argument
    add("--config", metavar="NAME|FILE.py", help="the experiment: demo, vitb32, … or a file")
    add("--config.KEY", metavar="VALUE", help="changes a key, as --config.data.pairs=5000")
    add("--workdir", type=Path, help="folder of the run; default: runs/CONFIG-DEFENSE-seedSEED")
    may_differ = "keys that may differ from the run's config; data: its data"
    add("--accept", default="", metavar="KEY,…", help=may_differ)
    add("--dry-run", action="store_true", help="checks everything, prints the plan, and stops")
    return made


def _help() -> str:
    from safeclip_jax.runs import settings

    keys = settings.KEYS.values()
    lines = [f"  {key.name} = {key.default!r}  # {key.meaning}" for key in keys]
    return _parser().format_help() + _MORE + "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    if {"-h", "--help"} & set(argv):
        print(_help())
        return 0
    flags, given = command_line.parse(_parser(), argv)
    from safeclip_jax.runs import settings

    run = settings.of(given.read())
    folder = flags.workdir or Path(f"runs/{given.name}-{run.defense}-seed{run.seed}")
    print(_begins(folder, flags.dry_run), flush=True)
    host.set_up_jax()
    accept = [key for key in flags.accept.split(",") if key]
    if flags.dry_run:
        from safeclip_jax.distributed import hosts
        from safeclip_jax.training import preflight

        preflight.check(folder)
        with hosts.joined(folder):
            preflight.dry_run(run, folder, accept)
        return 0
    trained(run, folder, accept)
    return 0


def trained(run: RunSettings, folder: Path, accept: Sequence[str] = ()) -> dict[str, Any]:
    """Trains, shows the figures on the first host, and returns them.

    Args:
      run: its settings.
      folder: of the run.
      accept: keys that may differ from those of the run that the folder holds.

    Raises:
      UserError: if the settings, the folder or the data cannot be used.
    """
    import jax

    from safeclip_jax.distributed import hosts
    from safeclip_jax.training import loop, preflight, results

    logging.getLogger("absl").setLevel(logging.WARNING)
    preflight.check(folder)
    with hosts.joined(folder) as heartbeat:
        found = loop.run(run, folder, heartbeat, accept)
        if jax.process_index() == 0:
            results.show(found)
            print(f"figures: {folder}/results.json   report: {folder}/report.html")
    return found


def _begins(folder: Path, dry: bool) -> str:
    if dry:
        return f"checks a run in {folder}: opens the data, trains nothing"
    if (folder / "results.json").exists():
        return f"{folder} holds a finished run: nothing is trained, these are its figures"
    if (folder / "config.json").exists():
        return f"goes on in {folder}: opens its data, then compiles"
    return f"trains in {folder}: opens the data, then compiles"
