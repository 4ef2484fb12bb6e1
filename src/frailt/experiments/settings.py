"""Settings that a YAML file gives, checked by the dataclass that takes them. No torch."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .records import is_positive


def named(wanted: type, given: Any, prefix: str) -> dict[str, Any]:
    """What is given, if `wanted` has fields of these names.

    Args:
        wanted: a dataclass.
        given: from YAML.
        prefix: where it stands, with a dot at the end.

    Raises:
        ValueError: it is no mapping, or an entry has another name.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'grid'} must be settings, got {given!r}")
    names = [entry.name for entry in fields(wanted)]
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"{prefix}{unknown[0]} is no setting; they are {', '.join(names)}")
    return dict(given)


def typed(wanted: type, given: Any, prefix: str) -> dict[str, Any]:
    """As `named`, if each entry has the type of its field as well, but for settings of its own.

    Raises:
        ValueError: one has another.
    """
    found, types = named(wanted, given, prefix), get_type_hints(wanted)
    for name, value in found.items():
        if not _is_of(value, types[name]):
            raise ValueError(f"{prefix}{name} must be {_in_words(types[name])}, got {value!r}{_hint(value)}")
    return found


def require(wanted: type, given: Mapping[str, Any], prefix: str) -> None:
    """Raise a ValueError where a field without a default is not given."""
    for entry in fields(wanted):
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in given:
            raise ValueError(f"{prefix}{entry.name} must be given")


def numbers(name: str, values: Any) -> list[float]:
    """Finite numbers above 0; raises a ValueError where one is not."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a list of numbers above 0, got {values!r}")
    found = list(values)
    for value in found:
        if not is_positive(value):
            raise ValueError(f"{name} must be numbers above 0, got {value!r}{_hint(value)}")
    return found


def _is_of(value: Any, wanted: Any) -> bool:
    kind, arguments = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return any(_is_of(value, each) for each in arguments)
    if kind is Literal:
        return type(value) is str and value in arguments
    if kind is list:
        return isinstance(value, list) and all(_is_of(each, arguments[0]) for each in value)
    if wanted is float:
        return type(value) in (int, float)
    if wanted in (int, str, bool, NoneType):
        return type(value) is wanted
    return True if wanted is Any or is_dataclass(wanted) else isinstance(value, kind or wanted)


def _in_words(wanted: Any) -> str:
    kind, arguments = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return " or ".join(map(_in_words, arguments))
    if kind is Literal:
        return " or ".join(arguments)
    if kind is list:
        plural = {int: "whole numbers", str: "texts"}
        return f"a list of {plural.get(arguments[0], 'settings')}"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}
    return words.get(wanted, "settings")


def _hint(value: Any) -> str:
    """What YAML makes of what people write."""
    if isinstance(value, bool):
        return f": YAML reads {'on and yes' if value else 'off and no'} as that, write quotes"
    try:
        float(value) if isinstance(value, str) else None
    except ValueError:
        return ""
    return ": YAML reads 1e-3 as a text, write 1.0e-3" if isinstance(value, str) else ""
