"""What the page asks for, read from its JSON and checked: nothing of it is believed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from imgsearch.addresses import is_remote
from imgsearch.errors import UsageError
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.reader import ImageIndex
from imgsearch.search.language.filtering import NAMES, below_of, filters_of
from imgsearch.tools.server import shapes
from imgsearch.tools.server.api import Filters

MOST_HITS = 1_000
"""Images of one answer."""
MOST_OFFSET = 1_000_000
MOST_KEYS = 10_000
_MOST_EXAMPLES = 32
_MOST_WORDS = 20_000  # characters
_KINDS = {field.attribute: field.kind for field in shapes.fields(Filters)}
"""Of the filters, as of a request over HTTP: bool, int, float, a list of texts, or a text."""


class Asked:
    """The fields of one request."""

    def __init__(self, data: Any) -> None:
        """Take what was sent. Raises UsageError if it is no JSON object."""
        if not isinstance(data, dict):
            raise UsageError("a request is a JSON object")
        self._data = data

    def __contains__(self, name: str) -> bool:
        """Whether a field is there, and not null."""
        return self._data.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > _MOST_WORDS:
            raise UsageError(f"{name}: not a text, or too long")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise UsageError(f"{name}: neither true nor false")
        return value

    def count(self, name: str, default: int, most: int, least: int = 0) -> int:
        """Return a whole number from ``least`` to ``most``."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise UsageError(f"{name}: give a whole number from {least} to {most:,}")
        return value

    def texts(self, name: str, most: int = 1_000) -> list[str]:
        """Return a list of texts."""
        values = self._data.get(name)
        if values is None:
            return []
        if (
            not isinstance(values, list)
            or len(values) > most
            or not all(isinstance(one, str) for one in values)
        ):
            raise UsageError(f"{name}: give a list of at most {most:,} texts")
        return list(values)

    def objects(self, name: str, most: int = _MOST_EXAMPLES) -> list[Asked]:
        """Return a list of objects."""
        values = self._data.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or len(values) > most:
            raise UsageError(f"{name}: give a list of at most {most}")
        return [Asked(value) for value in values]

    def number(self, name: str, default: float, limit: float) -> float:
        """Return a number, at most ``limit`` away from 0."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= limit:
            raise UsageError(f"{name}: not a number, or out of range")
        return float(value)

    @property
    def filters(self) -> Chosen:
        """The filters that are chosen. Raises UsageError for one that is unknown or can't be meant."""
        value = self._data.get("filters")
        return Chosen.of({} if value is None else value)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Filters as they are chosen on the page: by the names of ``filters_of``, and folders (absolute paths)."""

    given: Mapping[str, Any]
    folders: tuple[str, ...] = ()

    @staticmethod
    def of(data: Any) -> Chosen:
        """Read filters from JSON."""
        asked = Asked(data)
        if unknown := sorted(set(data) - {*NAMES, "in"}):
            raise UsageError(f"unknown filters: {', '.join(map(repr, unknown[:5]))}")
        given: dict[str, Any] = {}
        for name in NAMES:
            if name not in asked:
                continue
            kind = _KINDS[name]
            if kind is int:  # the rating
                given[name] = asked.count(name, 0, 5, -1)
            elif kind is float:
                given[name] = asked.number(name, 0.0, 1e6)
            elif kind is bool:
                given[name] = asked.flag(name)
            elif get_origin(kind) is list:
                given[name] = asked.texts(name, 32)
            else:
                given[name] = asked.text(name)
        folders = asked.texts("in", 1_000)
        for folder in folders:
            if not (os.path.isabs(folder) or is_remote(folder)) or "\0" in folder:
                raise UsageError("in: give the whole path of a folder")
        return Chosen(given, tuple(folders))

    def adding(self, given: Mapping[str, Any]) -> Chosen:
        """Return these filters and others, where these say nothing."""
        return Chosen({**given, **self.given}, self.folders)

    def filters(self) -> tuple[Filter, ...]:
        """Return what the index takes. Raises UsageError."""
        return filters_of(**self.given)

    def below(self, index: ImageIndex) -> tuple[str, ...]:
        """Return the paths by which an index knows the folders. Raises UsageError for one that it does not."""
        return tuple(below_of(index, folder) for folder in self.folders)
