"""Types as the shape of JSON: a request is read into a dataclass, and what is not of its types is refused by name.

    @dataclass(frozen=True, slots=True)
    class Example:
        text: Annotated[str, "What to look for"]
        n: Annotated[int, "At most so many"] = 10
        in_: Annotated[list[AbsolutePath], "Only below these folders"] = field(default_factory=list)

The kinds are str, AbsolutePath, int, float, bool, a Literal of texts, a list of one of them, a dict with texts as keys,
another such class, and each of them ``| None``. A TypedDict has the same kinds and is what an answer is: JSON already.
An underscore at the end of a name is for Python alone. Whether a value makes sense is for whoever uses it.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from imgsearch.addresses import is_remote
from imgsearch.errors import UsageError
from imgsearch.search.language.question import is_address
from imgsearch.text import Option

T = TypeVar("T")
AbsolutePath = NewType("AbsolutePath", str)
"""A path that leads to the same file from any folder; ``~`` stands for the user's home."""
_NOT_ABSOLUTE = "give an absolute path (the server runs in another folder)"
_MOST = 1e12  # no number that can be meant is larger


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a shape: its ``name`` in JSON and ``attribute`` in Python, its ``kind`` and what it means.

    ``required`` is whether it must be there, ``nullable`` whether it may be null in an answer; ``default`` is None
    where there is none.
    """

    name: str
    attribute: str
    kind: Any
    meaning: str
    required: bool
    nullable: bool
    default: Any = None


def fields(shape: type[Any]) -> Iterator[Field]:
    """Yield the fields of a dataclass or a TypedDict in their order, its own before those of its bases."""
    known = {one.name: one for one in dataclasses.fields(shape)} if dataclasses.is_dataclass(shape) else {}
    hints = get_type_hints(shape, include_extras=True)
    own = [name for base in shape.__mro__ for name in inspect.get_annotations(base) if name in hints]
    for attribute in dict.fromkeys([*own, *hints]):
        hint = hints[attribute]
        optional = get_origin(hint) is NotRequired
        kind, meaning = _told(get_args(hint)[0] if optional else hint)
        kind, nullable = _without_none(kind)
        default: Any = None
        if made := known.get(attribute):
            optional = True
            if made.default_factory is not dataclasses.MISSING:
                default = made.default_factory()
            elif made.default is not dataclasses.MISSING:
                default = made.default
            else:
                optional = False
        yield Field(attribute.rstrip("_"), attribute, kind, meaning, not optional, nullable, default)


def read(shape: type[T], data: Any) -> T:
    """Return JSON as a dataclass; a field that is null counts as not given.

    Raises UsageError, which names the field, for one that is unknown, missing, or not of its kind.
    """
    if not isinstance(data, dict):
        raise UsageError("a request is a JSON object")
    known = {field.name: field for field in fields(shape)}
    if unknown := sorted(set(data) - set(known)):
        raise UsageError(f"unknown fields: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    given = {name: value for name, value in data.items() if value is not None}
    for name, field in known.items():
        if field.required and name not in given:
            raise UsageError(f"{name}: is missing")
    return shape(**{known[name].attribute: _value(name, known[name].kind, given[name]) for name in given})


def _value(name: str, kind: Any, value: Any) -> Any:
    """Return a value as its kind has it. Raises UsageError for one of another kind."""
    if kind is AbsolutePath:
        return absolute(name, text(name, value))
    if kind is str:
        return text(name, value)
    if get_origin(kind) is Literal:
        if text(name, value) not in (known := get_args(kind)):
            choices = " or ".join(known) if len(known) == 2 else f"one of {', '.join(known)}"
            raise UsageError(Option(name, value), f": choose {choices}")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name}: {value!r} is not true or false")
        return value
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise UsageError(f"{name}: {value!r} is not a number")
        if abs(value) > _MOST:
            raise UsageError(f"{name}: the number is out of range")
        return value
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        if not isinstance(value, list) or (item is str and not all(isinstance(one, str) for one in value)):
            raise UsageError(f"{name}: give a list of {_NAMED.get(item, 'objects')}")
        if item is AbsolutePath and not all(isinstance(one, str) for one in value):
            raise UsageError(f"{name}: {_NOT_ABSOLUTE}")
        # An address among folders is compared with the index's own; that of an image would have to be fetched.
        return [one if item is AbsolutePath and is_remote(one) else _value(name, item, one) for one in value]
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        try:
            return read(kind, value)
        except UsageError as error:
            raise UsageError(f"{name}: ", error.as_message) from error
    raise TypeError(f"{name}: {kind} is not a kind that JSON has")


def text(name: str, value: Any) -> str:
    """Return a value that is a text. Raises UsageError for any other."""
    if not isinstance(value, str):
        raise UsageError(f"{name}: {value!r} is not text")
    return value


def absolute(name: str, path: str) -> str:
    """Return an absolute path, with the user's home for ``~``. Raises UsageError for what is none."""
    if is_address(path):
        raise UsageError(f"{name}: the server fetches no addresses; download the image and give its path")
    if not os.path.isabs(whole := os.path.expanduser(path)):
        raise UsageError(f"{name}: {_NOT_ABSOLUTE}")
    try:
        if b"\0" in os.fsencode(whole):
            raise ValueError
    except ValueError as error:  # UnicodeEncodeError is one
        raise UsageError(f"{name}: a path can't have such characters") from error
    return whole


_NAMED: dict[Any, str] = {str: "texts", AbsolutePath: "paths", int: "numbers", float: "numbers"}


# The same as a schema, and as words.


def schema(shape: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a dataclass, as a request, or of a TypedDict, as an answer."""
    answer = is_typeddict(shape)
    properties: dict[str, Any] = {}
    required = []
    for field in fields(shape):
        found = _schema(field.kind)
        if field.nullable and answer:
            found = {"anyOf": [found, {"type": "null"}]}
        if field.default is not None and field.default != []:
            found["default"] = field.default
        properties[field.name] = {**found, "description": field.meaning} if field.meaning else found
        if field.required:
            required.append(field.name)
    found = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    # Fields are only added: whoever checks an answer by this must let new ones pass.
    return found if answer else {**found, "additionalProperties": False}


def _schema(kind: Any) -> dict[str, Any]:
    if (origin := get_origin(kind)) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if origin is list:
        kind, meaning = _told(get_args(kind)[0])
        return {"type": "array", "items": _schema(kind) | ({"description": meaning} if meaning else {})}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(get_args(kind)[1])}
    if dataclasses.is_dataclass(kind) or is_typeddict(kind):
        return schema(kind)
    return {} if kind is Any else {"type": _TYPES[kind]}


_TYPES: dict[Any, str] = {
    str: "string",
    AbsolutePath: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}


def in_words(kind: Any) -> str:
    """Return a kind as a reader of the documentation has it: ``list of absolute paths``."""
    if (origin := get_origin(kind)) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(kind))
    if origin is list:
        item = _told(get_args(kind)[0])[0]
        return f"list of {_MANY.get(item, 'objects')}"
    return _ONE.get(kind, "object")


_ONE: dict[Any, str] = {
    str: "text",
    AbsolutePath: "absolute path",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "anything",
}
_MANY: dict[Any, str] = {str: "texts", AbsolutePath: "absolute paths", int: "whole numbers", float: "numbers"}


def inner(kind: Any) -> type[Any] | None:
    """Return the shape that a kind is, or a list of; None if there is none."""
    kind = _told(get_args(kind)[0])[0] if get_origin(kind) is list else kind
    return kind if dataclasses.is_dataclass(kind) or is_typeddict(kind) else None


def _told(hint: Any) -> tuple[Any, str]:
    """Return a kind and its meaning."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return kind, next((note for note in notes if isinstance(note, str)), "")
    return hint, ""


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not types.NoneType]
        assert len(kinds) == 1, kind
        return kinds[0], True
    return kind, False
