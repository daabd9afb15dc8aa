"""Values of settings by their types: from files, from JSON, and from the text of a flag."""

from __future__ import annotations

import ast
import types
import typing
from typing import Any, Union


def matching(kind: Any, value: Any) -> Any:
    """The value as the type wants it: whole numbers become floats, lists tuples.

    Raises:
      TypeError: if it is of another type; the message says which was wanted.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else matching(next(k for k in inner if k is not _NONE), value)
    if origin is tuple:
        return _matching_tuple(inner, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    raise TypeError(described(kind))


def parse(kind: Any, text: str) -> Any:
    """The value that a flag's text means.

    Raises:
      TypeError: if the text is no value of the type.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if text in ("", "None"):
            return None
        return parse(next(k for k in inner if k is not _NONE), text)
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in _WORDS:
            raise TypeError(described(kind))
        return _WORDS[text.lower()]
    if origin is tuple and inner[0] is str and not text.startswith(("(", "[")):
        return tuple(part for part in text.split(",") if part)
    try:
        return float(text) if kind is float else matching(kind, ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise TypeError(described(kind)) from None


def described(kind: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return f"{described(next(k for k in inner if k is not _NONE))} or None"
    if origin is tuple and inner[-1] is Ellipsis:
        return f"several, each {described(inner[0])}"
    if origin is tuple:
        return f"{len(inner)} values, each {described(inner[0])}"
    return _KINDS.get(kind, "a value")


def _matching_tuple(inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    kind = tuple[inner]  # type: ignore[valid-type]
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise TypeError(described(kind))
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        raise TypeError(described(kind))
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
    return tuple(matching(k, v) for k, v in zip(kinds, value, strict=True))


_NONE = type(None)
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    dict: "an object of names and values",
}
