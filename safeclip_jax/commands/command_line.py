"""What the commands that take a config share: its flag, one-line errors, JAX's settings."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from safeclip_jax.errors import UserError
from safeclip_jax.system import cpu
from safeclip_jax.system.signals import Interrupted

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment's file.")


def config() -> ConfigDict:
    """The config that `--config` names, with the changes of `--config.KEY=VALUE`.

    Raises:
      UserError: if there is none or its file cannot be read.
    """
    if _CONFIG.value is None:
        raise UserError("no --config given: try --config=configs/demo.py, or see --help")
    try:
        _CONFIG.value.seed  # noqa: B018 - a file that could not be read fails here
    except OSError as error:
        raise UserError(_one_line(error)) from None
    return _CONFIG.value


def config_name(argv: Sequence[str]) -> str:
    """The config's file without folder and ending, and its argument: `FILE` or `FILE-ARGUMENT`."""
    given = re.search(r"(?:^|\0)--?config[=\0]([^\0]+)", "\0".join(argv))
    path, _, argument = (given.group(1) if given else "run").partition(":")
    return "-".join([Path(path).stem, *([argument] if argument else [])])


def run(main: Callable[[], None], usage: Callable[[], None], argv: Sequence[str]) -> None:
    """Parses the flags and runs a command.

    What a user can mend is one line on standard error and exit status 2, or 75 if the same command
    goes on once a disk, a network or a process is well; Ctrl-C is 130.

    Args:
      main: the command.
      usage: prints its help.
      argv: the program's name and its arguments.
    """
    if {"--help", "-h", "--helpfull"} & set(argv[1:]):
        return usage()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cpu.keep_freed_memory()
    set_up_jax()
    try:
        rest = _parse(argv)
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}: flags begin with --, see --help")
        main()
    except UserError as error:
        sys.exit(fail(str(error), error.status))
    except KeyboardInterrupt:
        sys.exit(fail("stopped; the same command goes on from the last checkpoint", 130))


def parser(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser of a command's own flags; the examples are shown as they are."""
    return argparse.ArgumentParser(
        f"python -m safeclip_jax.{command}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def resumable(main: Callable[[], int]) -> int:
    """Runs a command of its own flags that goes on where it stopped; returns the exit status.

    What a user can mend is one line on standard error and status 2 or 75, Ctrl-C is 130,
    a run that a signal stopped 128 + the signal.
    """
    try:
        return main()
    except UserError as error:
        return fail(str(error), error.status)
    except Interrupted as error:
        return fail(str(error), error.code)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def set_up_jax() -> None:
    """Keeps compiled steps in the user's cache for the next run of the same shape.

    Not with several CPU devices: there a step from the cache may run its collectives in
    another order on each device, and hang.
    """
    import jax

    cpu_devices = jax.config.values["jax_num_cpu_devices"]
    cpu.allow_many_devices(cpu_devices)
    if cpu_devices <= 1 and not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))


def cache_folder() -> Path:
    """The program's folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "safeclip_jax"


def fail(message: str, code: int) -> int:
    """Prints an error and returns the exit status."""
    print(f"error: {message}", file=sys.stderr)
    return code


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(argv))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_one_line(error)) from None


def _one_line(error: BaseException) -> str:
    """The message of an error that wraps another's, without its quotes and line ends."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error.args[0]) if error.args else type(error).__name__
    if "Traceback" in text:  # of a config's own code; its last line says what is wrong
        place, _, trace = text.partition("Error whilst parsing")
        text = place + trace.strip().splitlines()[-1].partition(": ")[2]
    unknown_key = re.match(r"'(\w+)'\nDid you mean \"(\w+)\"", text)
    if unknown_key:
        return "unknown config key {!r}: did you mean {!r}?".format(*unknown_key.groups())
    return " ".join(text.split())
