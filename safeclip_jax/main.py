"""Trains CLIP, defended or not: `python -m safeclip_jax.main --config=configs/demo.py`."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from safeclip_jax import cpu
from safeclip_jax.errors import UserError

USAGE = """\
usage: python -m safeclip_jax.main --config=FILE.py [--config.KEY=VALUE …] [--workdir=DIR]
                                   [--dry-run]

  --config=FILE.py     the experiment: configs/demo.py (minutes on a laptop),
                       configs/vitb32.py (the paper's setting), or your own
  --config.KEY=VALUE   changes a key, e.g. --config.defense=none --config.data.pairs=5000
  --workdir=DIR        folder of the run; default: runs/CONFIG-DEFENSE-seedSEED;
                       the same command on the same folder goes on where it stopped
  --dry-run            checks config, data, devices, disk and memory, prints the plan, and stops

Every key, its default (configs may change it) and its meaning:
"""

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment's file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_DRY_RUN = flags.DEFINE_bool("dry-run", False, "Check everything, print the plan, stop.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --, see --help")
    if _CONFIG.value is None:
        raise UserError("no --config given: try --config=configs/demo.py, or see --help")
    try:
        config = _CONFIG.value
        config.seed  # noqa: B018 - a file that could not be read fails here
    except OSError as error:
        raise UserError(_one_line(error)) from None
    from safeclip_jax import preflight, results, train

    logging.getLogger("absl").setLevel(logging.WARNING)
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = Path(_WORKDIR.value or f"runs/{name}-{config.defense}-seed{config.seed}")
    if _DRY_RUN.value:
        preflight.dry_run(config, workdir)
        return
    preflight.check(config, workdir)
    results.show(train.run(config, workdir))
    print(f"figures: {workdir}/results.json   report: {workdir}/report.html")


def _help() -> None:
    from configs import common

    source = inspect.getsource(common.get_config).splitlines()[2:-1]
    keys = [line.strip().replace("c.", "", 1) for line in source]
    print(USAGE + "\n".join(f"  {key}" for key in keys if "ConfigDict()" not in key))


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_one_line(error)) from None


def _one_line(error: BaseException) -> str:
    """The message of an error that wraps another's, without its quotes and line ends."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error.args[0]) if error.args else type(error).__name__
    unknown_key = re.match(r"'(\w+)'\nDid you mean \"(\w+)\"", text)
    if unknown_key:
        return "unknown config key {!r}: did you mean {!r}?".format(*unknown_key.groups())
    return " ".join(text.split())


def cli() -> None:
    """Runs `main`; what a user can mend is one line on standard error and exit status 2."""
    if {"--help", "-h", "--helpfull"} & set(sys.argv[1:]):
        return _help()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cpu.keep_freed_memory()
    set_up_jax()
    from safeclip_jax.train import Interrupted

    try:
        main(_parse(sys.argv))
    except UserError as error:
        sys.exit(_fail(str(error), 2))
    except Interrupted as error:
        sys.exit(_fail(str(error), error.code))


def set_up_jax() -> None:
    """Keeps compiled steps in the user's cache for the next run of the same shape.

    Not with several CPU devices: there a step from the cache may run its collectives in
    another order on each device, and hang.
    """
    import jax

    cpu_devices = jax.config.values["jax_num_cpu_devices"]
    cpu.allow_many_devices(cpu_devices)
    if cpu_devices <= 1 and not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "safeclip_jax" / "xla"))


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    cli()
