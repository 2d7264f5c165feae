"""Dataclasses from the JSON of the native module, by their annotations.

The fields are the seed's, in camelCase there and in snake_case here. What is not known is passed over, so that an
older package understands a newer module.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

T = TypeVar("T")
Converter = Callable[[Any], Any]


def decode(kind: type[T], text: str) -> T:
    """A record from a JSON text."""
    return build(kind, json.loads(text))


def build(kind: type[T], data: dict[str, Any]) -> T:
    """A record from JSON that is parsed already."""
    make: Callable[[Any], T] = converter(typing.cast(Any, kind))
    return make(data)


def camel(name: str) -> str:
    """``snake_case`` as the seed writes it."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def to_datetime(text: str) -> datetime:
    """A moment in UTC. A year beyond what Python can name becomes the nearest that it can."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        far = datetime.min if text.startswith("-") else datetime.max
        return far.replace(tzinfo=timezone.utc)


def same(value: Any) -> Any:
    """What JSON gives is what is wanted."""
    return value


@functools.cache
def converter(kind: Any) -> Converter:
    """What makes a value of ``kind`` from JSON."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (converter(arg) for arg in args if arg is not types.NoneType)
        return same if inner is same else lambda value: None if value is None else inner(value)
    if origin is tuple:
        item = converter(args[0])
        return tuple if item is same else lambda values: tuple(item(value) for value in values)
    if kind is datetime:
        return to_datetime
    if kind is float:
        return float
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return record_converter(kind)
    return same


def record_converter(kind: type[Any]) -> Converter:
    """What makes a dataclass, or calls its ``_from_json`` if it has one."""
    own: Converter | None = getattr(kind, "_from_json", None)
    if own is not None:
        return own
    hints = typing.get_type_hints(kind)
    fields = [
        (field.name, camel(field.name), converter(hints[field.name]))
        for field in dataclasses.fields(kind)
        if field.init
    ]

    def make(data: dict[str, Any]) -> Any:
        return kind(**{name: convert(data[key]) for name, key, convert in fields if key in data})

    return make
