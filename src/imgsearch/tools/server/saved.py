"""Saved queries for other programs: what `@name` among the words of a request stands for.

The command line keeps them in the user's config file. A server gets them as functions, and so knows nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Expand = Callable[[Sequence[str]], tuple[list[str], Mapping[str, Any]]]


def _nothing(words: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
    return list(words), {}


@dataclass(frozen=True, slots=True)
class SavedQueries:
    """The user's saved queries, read each time that they are needed.

    ``expand`` takes words and returns them with those of saved queries in place of their names, and the options of
    these queries by their names in Python (those of ``SearchOptions``, of ``filters_of``, and others). ``listed``
    returns each query by its name, as it would be typed. Both raise UsageError: for a name that nobody has saved, and
    for a config file that can't be used.
    """

    expand: Expand = _nothing
    listed: Callable[[], Mapping[str, str]] = dict

    def apply(self, words: Sequence[str], given: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Return expanded words, and ``given`` with what their saved queries add.

        An option that was given wins; one that is a list gets both. Raises as ``expand`` does.
        """
        expanded, implied = self.expand(words)
        merged = dict(implied) | dict(given)
        for name in implied.keys() & given.keys():
            if isinstance(implied[name], list | tuple) and isinstance(given[name], list | tuple):
                merged[name] = list(dict.fromkeys([*implied[name], *given[name]]))
        return expanded, merged


NO_SAVED = SavedQueries()
