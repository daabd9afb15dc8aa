"""Trains CLIP, defended or not: `python -m safeclip_jax.main --config=configs/demo.py`."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from safeclip_jax.commands import command_line

USAGE = """\
usage: python -m safeclip_jax.main --config=FILE.py [--config.KEY=VALUE …] [--workdir=DIR]
                                   [--dry-run] [--accept=KEY,…]

  --config=FILE.py     the experiment: configs/demo.py (minutes on a laptop),
                       configs/vitb32.py (the paper's setting), or your own
  --config.KEY=VALUE   changes a key, e.g. --config.defense=none --config.data.pairs=5000
  --workdir=DIR        folder of the run; default: runs/CONFIG-DEFENSE-seedSEED;
                       the same command on the same folder goes on where it stopped
  --accept=KEY,…       goes on with a run whose config has other values of these keys
  --dry-run            checks config, data, devices, disk and memory, prints the plan, and stops

Every key, its default (configs may change it) and its meaning:
"""

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_ACCEPT = flags.DEFINE_list("accept", [], "Keys that may differ from the run's config.")
_DRY_RUN = flags.DEFINE_bool("dry-run", False, "Check everything, print the plan, stop.")


def main() -> None:
    config = command_line.config()
    import jax

    from safeclip_jax.distributed import hosts
    from safeclip_jax.system.signals import Interrupted
    from safeclip_jax.training import loop, preflight, results

    logging.getLogger("absl").setLevel(logging.WARNING)
    name = f"{command_line.config_name(sys.argv)}-{config.defense}-seed{config.seed}"
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    preflight.check(config, workdir)
    with hosts.joined(workdir) as beat:
        if _DRY_RUN.value:
            return preflight.dry_run(config, workdir, _ACCEPT.value)
        try:
            found = loop.run(config, workdir, beat, _ACCEPT.value)
        except Interrupted as error:
            sys.exit(command_line.fail(str(error), error.code))
        if jax.process_index() == 0:
            results.show(found)
            print(f"figures: {workdir}/results.json   report: {workdir}/report.html")


def _help() -> None:
    from configs import common

    found = re.findall(r"c\.(\S+) = .*?  # (.*)", inspect.getsource(common))
    meaning = dict(found)
    print(USAGE, end="")
    for key, value in _leaves(common.get_config(), ""):
        about = meaning.get(key) or meaning[key.replace("safeclip_plus", "safeclip")]
        print(f"  {key} = {value!r}  # {about}")


def _leaves(config: ConfigDict, prefix: str) -> Iterator[tuple[str, object]]:
    """Keys and values, sorted."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def cli() -> None:
    """Runs the command with the program's arguments."""
    command_line.run(main, _help, sys.argv)


if __name__ == "__main__":
    cli()
