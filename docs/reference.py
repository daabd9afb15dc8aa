"""What pages show of the code: every setting, and every command's `--help`."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from unittest import mock

from benchmarks import markdown
from safeclip_jax.commands import console
from safeclip_jax.runs import settings
from safeclip_jax.settings import values
from safeclip_jax.settings.schema import Key

_COLUMNS = "96"  # of the help texts


def of_settings() -> str:
    """A table of keys for each section, in the order of the configuration."""
    run = settings.read({})
    parts = []
    for section, keys in groupby(settings.KEYS.values(), lambda key: key.name.rpartition(".")[0]):
        title = f"## `{section}`\n\n{_about(run, section)}" if section else "## The run"
        parts.append(f"{title}\n\n{markdown.table([_row(key) for key in keys])}")
    return "\n\n".join(_merged(parts))


def of_commands() -> str:
    """The help of every command as the terminal shows it."""
    parts = []
    for name, what in console.COMMANDS.items():
        parts.append(f"## {name}\n\n`safeclip-jax {name}` {what}.\n\n```text\n{_help(name)}\n```")
    return "\n\n".join(parts)


def _row(key: Key) -> dict[str, str]:
    bounds = [check.text for check in key.checks if not check.names]
    meaning = key.meaning + (f" ({', '.join(bounds)})" if bounds else "")
    default = "–" if key.default is None else f"`{key.default!r}`"
    return {
        "key": f"`{key.name}`",
        "value": values.described(key.kind),
        "default": default,
        "meaning": meaning.replace("|", "\\|"),
    }


def _about(run: Any, section: str) -> str:
    """The first line of the section's docstring; not one that `dataclass` made."""
    for part in section.split("."):
        run = getattr(run, part)
    for kind in type(run).__mro__:
        text = kind.__doc__ or ""
        if text and not text.startswith(f"{kind.__name__}("):
            return text.splitlines()[0]
    return ""


def _merged(parts: list[str]) -> Iterator[str]:
    """The parts, with keys of the run that come after a section moved to the first part."""
    of_run = [part for part in parts if part.startswith("## The run")]
    rows = [line for part in of_run[1:] for line in part.splitlines()[4:]]
    yield "\n".join([of_run[0], *rows])
    yield from (part for part in parts if part not in of_run)


def _help(command: str) -> str:
    shown = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS=_COLUMNS),
        contextlib.redirect_stdout(shown),
        contextlib.suppress(SystemExit),
    ):
        console.command(command).main(["--help"])
    return shown.getvalue().partition("\nevery key, its default")[0].strip()


RENDERERS = {"settings": of_settings, "commands": of_commands}
