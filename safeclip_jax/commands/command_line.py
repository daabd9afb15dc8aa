"""What all commands share: their flags, and `--config.KEY=VALUE`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ml_collections import ConfigDict

from safeclip_jax.commands.program import PROGRAM
from safeclip_jax.errors import UserError, nearest
from safeclip_jax.runs import config_file, settings
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.settings import values

_CONFIG = re.compile(r"--?config(?:\.([\w.]+))?(?:=(.*))?", re.DOTALL)


@dataclass
class GivenConfig:
    """What a command was given of a configuration.

    Attributes:
      text: of `--config`; empty without.
      changes: full names of keys and the texts of their values, in order.
    """

    text: str = ""
    changes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The config's short name."""
        return config_file.name(self.text)

    def required(self, example: str) -> str:
        """The text of `--config`; `UserError` without, which shows the example."""
        if not self.text:
            raise UserError(f"no --config given: try --config={example}, or see --help")
        return self.text

    def read(self, otherwise: str = "") -> ConfigDict:
        """The config with the changes.

        Args:
          otherwise: the config where none was given; empty if one must be.

        Raises:
          UserError: if there is none, or it or a change cannot be used.
        """
        text = (self.text or otherwise) if otherwise else self.required("demo")
        return self.change(config_file.read(text))

    def changed(self, run: RunSettings | None) -> RunSettings | None:
        """A run's settings with the changes; those of the config where there is no run.

        Raises:
          UserError: as `read`, or if a config is given where the run has one.
        """
        if run is None:
            if not self.text and not self.changes:
                return None
            config = config_file.read(self.text) if self.text else settings.defaults()
            return settings.of(self.change(config))
        if self.text:
            raise UserError(f"--config={self.text}: the run has a config: change keys of it alone")
        return settings.of(self.change(settings.as_config(run)))

    def change(self, config: ConfigDict) -> ConfigDict:
        """Makes the changes; `UserError` if there is no such key, or a value is of another type."""
        for name, text in self.changes:
            if name not in settings.KEYS:
                raise UserError(settings.unknown_key(name))
            try:
                value = values.parse(settings.KEYS[name].kind, text)
            except TypeError as wanted:
                raise UserError(f"--config.{name}={text}: {wanted} is needed") from None
            *sections, last = name.split(".")
            section = config
            for part in sections:
                section = section[part]
            section[last] = value
        return config


class Parser(argparse.ArgumentParser):
    """Flags of a command; what is wrong with them is a `UserError`."""

    @property
    def flags(self) -> list[str]:
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message, re.DOTALL)
        if unknown:
            name = unknown.group(1).partition("=")[0]
            if not name.startswith("-"):
                raise UserError(f"unexpected argument {name!r}: flags begin with --, see --help")
            hint = nearest(name, self.flags) or ": see --help"
            raise UserError(f"unknown flag {name}{hint}")
        raise UserError(f"{message}: see --help")


def parser(command: str, description: str, examples: str, more: str = "") -> Parser:
    """A parser of a command's own flags.

    Args:
      command: its name.
      description: what it does.
      examples: lines of flags, to be shown behind the command's name.
      more: text behind them, shown as it is.
    """
    program = f"{PROGRAM} {command}"
    shown = "\n".join(f"  {program} {line.strip()}" for line in examples.strip().splitlines())
    return Parser(
        program,
        description=description,
        epilog=f"examples:\n{shown}\n{more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parse(made: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, GivenConfig]:
    """A command's own flags, and what it was given of a config.

    Args:
      made: the command's parser.
      argv: arguments, without the program's name.
    """
    config, rest, waiting = GivenConfig(), [], list(argv)
    while waiting:
        argument = waiting.pop(0)
        found = _CONFIG.fullmatch(argument)
        if found is None:
            rest.append(argument)
            continue
        key, value = found.groups()
        if value is None:
            if not waiting:
                raise UserError(f"{argument} needs a value: {argument}=VALUE")
            value = waiting.pop(0)
        if key is None:
            config.text = value
        else:
            config.changes.append((key, value))
    if (config.text or config.changes) and "--config" not in made.flags:
        made.error("unrecognized arguments: --config")
    return made.parse_args(rest), config


def flag(name: str) -> str:
    """The flag of an attribute of the parsed arguments."""
    return f"--{name.replace('_', '-')}"


def given(made: Parser, arguments: argparse.Namespace) -> set[str]:
    """Names of the arguments that differ from their defaults."""
    return {name for name, value in vars(arguments).items() if value != made.get_default(name)}


def refuse(made: Parser, arguments: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """`UserError` if one of some flags is given, which the command would not look at."""
    for name in names:
        if name in given(made, arguments):
            raise UserError(f"{flag(name)} {why}")


def arguments(values: Mapping[str, Any]) -> list[str]:
    """The arguments that give flags these values; those of None are left out."""
    found: list[str] = []
    for name, value in values.items():
        if value is not None and value is not False:
            found.append(flag(name))
            many = value if isinstance(value, list | tuple) else [value]
            found += [] if value is True else map(str, many)
    return found
