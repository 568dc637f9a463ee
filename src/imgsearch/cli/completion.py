"""What Tab completes besides names of commands and options: saved queries, and values that the index has.

Each function takes what has been typed of a word and returns how it may continue. What goes wrong yields nothing, and
nothing is printed: a person is typing. Where nothing fits, the shell completes names of files.

Values come from image files, which anybody may have made, and the scripts of some shells evaluate them. So none is
offered with a sign in it by which a shell could be made to run something.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from imgsearch.cli import config
from imgsearch.index.layout import find_index

Completer = Callable[[Any, str], list[str]]
"""Takes the parser's context and the beginning of a word."""
_HARMLESS = re.compile(r"[\w \-.,+/&()#@%=:~\[\]]+")
_TO_QUOTE = re.compile(r"(?!^~)[^\w\-.,+/@%:=]")
_BASH = "complete_bash"


class _Candidate(str):
    """A word that continues what was typed, which Typer compares as if neither had been quoted."""

    def startswith(self, *_: Any) -> bool:
        """Return that it does: it has been compared."""
        return True


def _completes(find: Callable[[Any, str], Iterable[str]]) -> Completer:
    """Make a completer of a function that yields words: of those that continue what was typed, quoted for the shell."""

    @functools.wraps(find)
    def complete(ctx: Any, incomplete: str) -> list[str]:
        try:
            begun = incomplete.casefold()
            found = [one for one in find(ctx, incomplete) if one.casefold().startswith(begun)]
            return [_Candidate(_quoted(one)) for one in dict.fromkeys(found) if _HARMLESS.fullmatch(one)]
        except Exception:  # a broken index, a broken config file: told by the command itself
            return []

    return complete


def _quoted(value: str) -> str:
    """Return a value as it is to stand on the command line, where the shell leaves that to us: bash."""
    if os.environ.get("_IMGSEARCH_COMPLETE") != _BASH or _opens_quote():
        return value
    return _TO_QUOTE.sub(r"\\\g<0>", value)


def _opens_quote() -> bool:
    words = os.environ.get("COMP_WORDS", "").split("\n")
    at = os.environ.get("COMP_CWORD", "")
    return at.isdecimal() and int(at) < len(words) and words[int(at)][:1] in ("'", '"')


def _indexes(ctx: Any) -> list[str]:
    """Return the folders of the indexes that the command would ask."""
    given = ctx.params.get("index")
    if not given and (found := config.set_for(ctx.command, config.read()).get("index")):
        given = found[1]
    named = [given] if isinstance(given, str) else [*(given or ())]
    return [find_index(one) for one in named or (None,)]


def _values(ctx: Any, name: str) -> Iterator[str]:
    from imgsearch.index.values import values

    for index in _indexes(ctx):
        yield from values(index, name)


@_completes
def cameras(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete a camera's name: its model, or what stands for make and model."""
    begun = incomplete.casefold()
    models = [one for one in _values(ctx, "camera") if one.casefold().startswith(begun)]
    return models or _values(ctx, "camera with make")


@_completes
def lenses(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete a lens's name."""
    return _values(ctx, "lens")


@_completes
def keywords(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete a keyword."""
    return _values(ctx, "keyword")


@_completes
def types(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete the last of several types of file, separated by commas."""
    from imgsearch.media.formats import EXTENSIONS

    before = incomplete[: incomplete.rfind(",") + 1]
    return (before + extension[1:] for extension in sorted(EXTENSIONS))


@_completes
def folders(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete an indexed folder; those inside one, and all others, the shell completes."""
    from imgsearch.index.values import folders

    home = os.path.expanduser("~")
    for index in _indexes(ctx):
        for folder in folders(index):
            shown = (
                f"~{folder[len(home) :]}"
                if incomplete[:1] == "~" and folder.startswith(home + "/")
                else folder
            )
            if shown != incomplete:
                yield shown


@_completes
def indexes(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete the folder of the index that would be asked anyway; others the shell completes."""
    found = find_index(None)
    return [found] if os.path.isdir(found) and found != incomplete else []


@_completes
def models(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete a model that is on this computer, or that is the default; its folder the shell completes."""
    from imgsearch.model.locate import DEFAULT_MODEL, DEMO_MODEL, data_folder

    yield from (DEMO_MODEL, DEFAULT_MODEL)
    owner, name = DEFAULT_MODEL.split("/")
    downloaded = os.path.dirname(os.path.dirname(data_folder(f"{owner}/{name}")))
    for owner in sorted(os.listdir(downloaded)) if os.path.isdir(downloaded) else ():
        folder = os.path.join(downloaded, owner)
        yield from (f"{owner}/{one}" for one in sorted(os.listdir(folder)) if not one.startswith("."))


@_completes
def shapes(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete a shape."""
    return ("landscape", "panorama", "portrait", "square")


@_completes
def facts(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete what images may have."""
    return ("camera", "date", "gps", "keywords", "rating", "title")


@_completes
def saved_names(ctx: Any, incomplete: str) -> Iterable[str]:
    """Complete the name of a saved query."""
    from imgsearch.cli.saved import all_saved

    return all_saved()


def words(ctx: Any, incomplete: str) -> list[str]:
    """Complete the name of a saved query among the words of a query: @receipts."""
    return first_words([*(ctx.params.get("words") or ())], incomplete)


def first_words(typed: list[str], incomplete: str) -> list[str]:
    """Complete the name of a saved query behind the words ``typed``, where a command could stand too."""
    if typed[-1:] == ["@"]:
        incomplete = f"@{incomplete}"  # bash takes the sign for a word of its own, and yet replaces both
    if incomplete[:1] != "@":
        return []
    try:
        from imgsearch.cli.saved import all_saved

        return [_Candidate(f"@{name}") for name in all_saved() if name.startswith(incomplete[1:])]
    except Exception:
        return []
