"""Sections as a whole: read from values, written as a config, described for readers."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from safeclip_jax.errors import UserError, nearest
from safeclip_jax.settings import values
from safeclip_jax.settings.fields import Check, SettingError

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Key:
    """One setting by its full name.

    Attributes:
      name: with its sections, as `data.pairs`.
      kind: of its values.
      default, about, checks: see `fields.setting`.
    """

    name: str
    kind: Any
    default: Any
    about: str
    checks: tuple[Check, ...]

    @property
    def meaning(self) -> str:
        """What it means and what it may be, in a line."""
        lists = [", ".join(check.names) for check in self.checks if check.names]
        return f"{self.about}: {lists[0]}" if lists else self.about


def keys(kind: type, prefix: str = "") -> Iterator[Key]:
    """All settings of a section and of those in it, in their order."""
    types = typing.get_type_hints(kind)
    for field in _fields(kind):
        name = f"{prefix}{field.name}"
        if "section" in field.metadata:
            yield from keys(field.metadata["section"], f"{name}.")
        else:
            yield Key(name, types[field.name], field.default, **field.metadata)


def read(kind: type[Kind], given: Mapping[str, Any], prefix: str = "") -> Kind:
    """A section from values; what is not given has its default.

    Args:
      kind: of the section.
      given: values by name, those of sections in it as mappings.
      prefix: of the names, as `data.`.

    Raises:
      UserError: if a name is not known, or a value not allowed; it names the full key.
    """
    types, fields = typing.get_type_hints(kind), {field.name: field for field in _fields(kind)}
    for name in given:
        if name not in fields:
            raise UserError(f"unknown config key {prefix + name!r}{nearest(name, fields)}")
    made: dict[str, Any] = {}
    for name, value in given.items():
        metadata = fields[name].metadata
        if "section" in metadata:
            if not isinstance(value, Mapping):
                raise UserError(f"{prefix}{name} is a section of keys, not a value")
            made[name] = read(metadata["section"], value, f"{prefix}{name}.")
        else:
            made[name] = _allowed(f"{prefix}{name}", types[name], value, metadata["checks"])
    try:
        return kind(**made)
    except SettingError as error:
        value = made.get(error.key, getattr(fields.get(error.key), "default", None))
        raise UserError(f"{prefix}{error.key}={value}: {error.problem}") from None


def as_config(kind: type) -> ConfigDict:
    """All settings with their defaults, to be changed; other names are refused."""
    config, types = ConfigDict(), typing.get_type_hints(kind)
    for field in _fields(kind):
        if "section" in field.metadata:
            config[field.name] = as_config(field.metadata["section"])
        elif field.default is None:
            config[field.name] = placeholder(typing.get_args(types[field.name])[0])
        else:
            config[field.name] = field.default
    return config.lock()


def as_dict(section: Any) -> dict[str, Any]:
    """A section's values as plain ones, settings alone."""
    found = {}
    for field in _fields(type(section)):
        value = getattr(section, field.name)
        found[field.name] = as_dict(value) if "section" in field.metadata else value
    return found


def _fields(kind: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if field.metadata]  # type: ignore[arg-type]


def _allowed(name: str, kind: Any, value: Any, checks: tuple[Check, ...]) -> Any:
    try:
        value = values.matching(kind, value)
    except TypeError as wanted:
        raise UserError(f"{name}={value!r}: {wanted} is needed") from None
    for check in checks if value is not None else ():
        if not check.holds(value):
            hint = nearest(value, check.names) if check.names else ""
            raise UserError(f"{name}={value!r} is not {check.text}{hint}")
    return value
