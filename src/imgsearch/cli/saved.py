"""Saved queries: what `@name` among the words of a query stands for, words and options.

They are in the user's config file, where they may be edited. An option that is typed beside the name wins; one that may
be repeated is added.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imgsearch.cli import config
from imgsearch.cli.door import nearest
from imgsearch.cli.parsing import Command, is_typed_in, parsed
from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from imgsearch.tools.server.saved import SavedQueries

SHIPPED: dict[str, dict[str, Any]] = {
    "documents": {config.QUERY: "a scanned document, a letter or a form"},
    "receipts": {config.QUERY: "a receipt or invoice"},
    "screenshots": {config.QUERY: "a screenshot of a computer or phone"},
    "whiteboards": {config.QUERY: "handwriting on a whiteboard"},
}
"""Those that everybody has; one of the user's with the same name takes its place."""
OF_THE_MOMENT = frozenset(
    {
        "color",
        "columns",
        "device",
        "dtype",
        "index",
        "json",
        "model",
        "no_remember",
        "nul",
        "paths",
        "preview",
        "refresh",
    }
)
"""Options of query that a saved query does not hold, besides those that can't be set."""
NAME = re.compile(r"[^\W\d_][\w-]{0,63}")
_AMONG_WORDS = re.compile(rf"(?<!\S)@({NAME.pattern})(?!\S)")


class QueryCommand(Command):
    """The command that searches by words: `@name` among them brings words and options of a saved query."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command's name, those of saved queries in place of their names."""
        rest = super().parse_args(ctx, list(args))
        words = ctx.params.get("words")
        if ctx.resilient_parsing or not words or ctx.params["literal"]:
            return rest
        expanded, saved = expand(words)
        if not saved:
            return rest
        options = config.options_of(self)
        implied: dict[str, Any] = {}
        for query in saved:
            for key, value in options_in(query):
                option = options[key]
                given = config.as_typed(option, value)
                if option.multiple:
                    implied[str(option.name)] = [*implied.get(str(option.name), []), *given]
                else:
                    implied.setdefault(str(option.name), given)
        ctx.default_map = {**ctx.default_map, **implied}
        rest = self.parse_words(ctx, list(args))
        for option in options.values():
            name = str(option.name)
            added = option.multiple and name != "index"  # one index is searched instead of another
            if added and name in implied and is_typed_in(ctx, name):
                ctx.params[name] = list(dict.fromkeys([*implied[name], *ctx.params[name]]))
        ctx.params["words"] = expanded
        return rest


class SaveCommand(Command):
    """The command that saves a query: it takes query's options too, and finds those that were typed in ``ctx.obj``.

    They are the very objects of that command, since making them again would cost every command its time.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own parameters and the options of query that a saved query can hold."""
        return [*super().get_params(ctx), *self._of_query(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Run the command with its own parameters alone."""
        given = {option: ctx.params.pop(option.name) for option in self._of_query(ctx)}
        ctx.obj = {option: value for option, value in given.items() if is_typed_in(ctx, str(option.name))}
        return super().invoke(ctx)

    def _of_query(self, ctx: Any) -> list[Any]:
        own = {param.name for param in self.params}
        options = config.options_of(ctx.parent.command.commands["query"])
        return [
            option
            for option in dict.fromkeys(options.values())
            if option.name not in OF_THE_MOMENT and option.name not in own
        ]


def all_saved() -> dict[str, Mapping[str, Any]]:
    """Return every saved query by its name: its words under "query", and its options. Raises UsageError."""
    return dict(sorted({**SHIPPED, **config.saved_queries()}.items()))


def expand(words: Sequence[str]) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Return words with those of saved queries in place of their names, and these queries.

    Raises UsageError for a name that nobody has saved, and for a query of several parts that does not come first.
    """
    found: list[str] = []
    queries: list[Mapping[str, Any]] = []
    for word in words:
        # Every second piece is a name; the path of a file may hold anything.
        pieces = [word] if not word.startswith("@") and os.path.exists(word) else _AMONG_WORDS.split(word)
        for number, piece in enumerate(pieces):
            if number % 2 == 0:
                found += [piece] if piece.strip() or len(pieces) == 1 else []
                continue
            query = _saved(piece)
            inside = words_in(query)
            if found and _is_combined(inside):
                raise UsageError(f"@{piece} has several parts, so a query has to begin with it")
            found += inside
            queries.append(query)
    return found, queries


def _saved(name: str) -> Mapping[str, Any]:
    known = all_saved()
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean @{near}?" if near else "they are listed by: imgsearch save."
        raise UsageError(
            f"@{name}: there is no saved query of this name; {hint} To search for the word itself: --literal"
        )
    return known[name]


def _is_combined(words: Sequence[str]) -> bool:
    from imgsearch.search.language.question import is_combined

    return is_combined(words)


def for_programs(program: Any) -> SavedQueries:
    """Return the saved queries for a server, which knows neither the config file nor flags; ``program`` has the command
    whose options they hold.
    """
    from imgsearch.tools.server.saved import SavedQueries

    def expanded(words: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
        found, queries = expand(words)
        if not queries:
            return found, {}
        for problem in config.problems(program, {config.SAVED: config.saved_queries()}):
            raise UsageError(config.explained(problem))
        options = config.options_of(program.commands["query"])
        implied: dict[str, Any] = {}
        for key, value in (item for query in queries for item in options_in(query)):
            option = options[key]
            name, given = str(option.name), parsed(option, config.as_typed(option, value))
            if option.multiple:
                implied[name] = [*implied.get(name, []), *given]
            else:
                implied.setdefault(name, given)
        return found, implied

    return SavedQueries(expanded, lambda: {name: spelled(query) for name, query in all_saved().items()})


def words_in(query: Mapping[str, Any]) -> list[str]:
    """Return the words of a saved query."""
    words = query.get(config.QUERY, [])
    return [words] if isinstance(words, str) else list(words)


def options_in(query: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the options of a saved query and their values."""
    for key, value in query.items():
        if key != config.QUERY:
            yield key, value


def spelled(query: Mapping[str, Any]) -> str:
    """Return a saved query as it would be typed after `imgsearch query`."""
    shown = [shlex.join(words) if len(words := words_in(query)) > 1 else "".join(words)]
    for key, value in options_in(query):
        flag = f"--{'no-' if value is False else ''}{key}" if len(key) > 1 else f"-{key}"
        for item in value if isinstance(value, list) else [value]:
            shown.append(flag if isinstance(item, bool) else f"{flag} {shlex.quote(str(item))}")
    return " ".join(shown)
