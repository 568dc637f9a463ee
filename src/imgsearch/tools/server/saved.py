"""Saved queries for other programs: what `@name` among the words of a request stands for.

The command line keeps them in the user's config file. A server gets them as functions, and so knows nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_OTHERWISE = {"in": "below"}
"""Field of a request → the option's name in Python, where they differ."""
_ALL = 1_000_000_000
"""As many results as there are, as a number that a request may have."""

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

    def fill_in(self, data: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], list[str]]:
        """Return a request with what the saved queries in its ``text`` stand for, and what these are called.

        ``known`` are the fields that such a request has; other options, as of output, are left out. Raises as
        ``expand`` does.
        """
        text = data.get("text")
        if not isinstance(text, str) or "@" not in text or data.get("literal") is True:
            return dict(data), []
        given = {_OTHERWISE.get(name, name): value for name, value in data.items() if value is not None}
        words, merged = self.apply([text], given)
        if words == [text]:
            return dict(data), []
        fields = {name: merged[option] for name in known if (option := _OTHERWISE.get(name, name)) in merged}
        fields |= {name: value for name, value in data.items() if name not in fields}
        if "n" in fields and isinstance(fields["n"], int):
            fields["n"] = min(fields["n"], _ALL)
        if isinstance(fields.get("within"), str):
            fields["within"] = float(fields["within"].strip().removesuffix("%"))
        listed = self.listed()
        named = [word for word in text.split() if word.startswith("@") and word[1:] in listed]
        return fields | {"text": " ".join(" ".join(words).split())}, named


NO_SAVED = SavedQueries()
