"""Facts as rows of plain JSON values and back, by the types of their fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

_Decode = Callable[[Any], Any]
_T = TypeVar("_T")


def dumps(value: Any) -> str:
    """Return facts as JSON: lists without names, mappings and plain values."""
    return _encode(value)


def loads(text: str, kind: type[_T]) -> _T:
    """Return the facts that ``dumps`` wrote.

    Args:
        text: The JSON.
        kind: Their dataclass.
    """
    hint: Any = kind
    decode = decoder(hint)
    found: _T = json.loads(text) if decode is None else decode(json.loads(text))
    return found


@cache
def decoder(hint: Any) -> _Decode | None:
    """Return what turns an encoded value of a type back; None where it is the same.

    Args:
        hint: The type: a dataclass of facts, or what the fields of one are.
    """
    if _has_fields(hint):
        return _row_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, date):
        moment: _Decode = hint.fromisoformat
        return moment
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin is tuple:
        return _sequence_decoder(arguments[0])
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_decoder(*arguments)
    # What may be None is decoded where it is not.
    kinds = [each for each in arguments if each is not type(None)]
    return decoder(kinds[0]) if kinds else None


@cache
def shape(hint: Any) -> str:
    """Return the names and types of all fields, so that a changed one is noticed."""
    if not _has_fields(hint):
        return " ".join([str(hint), *map(shape, get_args(hint))])
    hints = _hints(hint)
    return f"{hint.__name__}({', '.join(f'{name}: {shape(hints[name])}' for name in _names(hint))})"


def _row(value: Any) -> Any:
    """Return what JSON has no form for as something nearer to it."""
    if isinstance(value, date):
        return value.isoformat()
    kind: Any = type(value)
    values, by_date = _fields_of(kind)
    row = values(value)
    if not by_date:
        return row
    plain = list(row)
    for index in by_date:
        plain[index] = {day.isoformat(): each for day, each in plain[index].items()}
    return plain


_encode: Final = json.JSONEncoder(default=_row, separators=(",", ":")).encode


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


@cache
def _fields_of(kind: Any) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[int, ...]]:
    """Return what gets the values of a dataclass's fields, and the places of those that are by date."""
    names, hints = _names(kind), _hints(kind)
    by_date = [index for index, name in enumerate(names) if get_args(hints[name])[:1] == (date,)]
    if len(names) == 1:
        return lambda value: (getattr(value, names[0]),), tuple(by_date)
    return attrgetter(*names), tuple(by_date)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _row_decoder(kind: Any) -> _Decode:
    hints = _hints(kind)
    parts = [(index, found) for index, name in enumerate(_names(kind)) if (found := decoder(hints[name]))]

    def decode(row: list[Any]) -> Any:
        for index, part in parts:
            if row[index] is not None:
                row[index] = part(row[index])
        return kind(*row)

    return decode


def _sequence_decoder(element: Any) -> _Decode:
    part = decoder(element)
    return tuple if part is None else lambda values: tuple(map(part, values))


def _mapping_decoder(key: Any, element: Any) -> _Decode | None:
    of_key, part = decoder(key), decoder(element)
    if of_key is None and part is None:
        return None

    def decode(values: dict[str, Any]) -> dict[Any, Any]:
        return {
            (of_key(name) if of_key else name): (part(value) if part else value)
            for name, value in values.items()
        }

    return decode
