"""A setting: name, type, default, meaning and bounds of one key, said once.

A section of the configuration is a frozen dataclass whose fields are made by `setting`:

    @dataclass(frozen=True)
    class Mesh:
        fsdp: int = setting(1, "devices over which parameters are split", at_least(1))

From it come the config that files change, `--help`, the reference page and the checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """What a value may be.

    Attributes:
      text: in words, after "is not".
      holds: whether a value is so.
      names: the values, where they are a list.
    """

    text: str
    holds: Callable[[Any], bool]
    names: Sequence[str] = ()


class SettingError(Exception):
    """A value that a section refuses; the key is the section's own.

    Attributes:
      key: of the setting.
      problem: what is wrong and what to do, after `KEY=VALUE`.
    """

    def __init__(self, key: str, problem: str):
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


def setting(default: Any, about: str, *checks: Check) -> Any:
    """A field of a section.

    Args:
      default: value where neither a file nor a flag gives one.
      about: its meaning in a line, with its unit.
      *checks: that every value must pass.
    """
    return dataclasses.field(default=default, metadata={"about": about, "checks": checks})


def section(kind: type) -> Any:
    """A field that is a section of its own."""
    return dataclasses.field(default_factory=kind, metadata={"section": kind})


def at_least(least: float) -> Check:
    """The bound is allowed."""
    return Check(f"at least {least}", lambda value: value >= least)


def above(least: float) -> Check:
    """The bound is not allowed."""
    return Check(f"above {least}", lambda value: value > least)


def between(least: float, most: float) -> Check:
    """Both ends are allowed."""
    return Check(f"between {least} and {most}", lambda value: least <= value <= most)


def one_of(names: Iterable[str], also_empty: bool = False) -> Check:
    """A name in a list; or none, where the empty text means a default."""
    known = tuple(names)
    allowed = {*known, ""} if also_empty else set(known)
    return Check(f"one of {', '.join(known)}", lambda value: value in allowed, known)


def not_blank() -> Check:
    """A text with more than blanks."""
    return Check("a text that is not empty", lambda text: bool(text.strip()))


def rising_shares() -> Check:
    """Two shares of something, the first one smaller."""
    return Check("two rising shares between 0 and 1", lambda pair: 0 <= pair[0] < pair[1] <= 1)


SHARE = between(0, 1)
