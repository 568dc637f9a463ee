"""What was typed → the command that was meant: bare words, folders, image files, and other names of commands.

Whoever types a command gets that command. Everything here is for what begins with no command's name, and for words
that are paths. Where two things may be meant, the answer is an error that shows how to type each.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

from imgsearch.addresses import is_remote, names_a_folder
from imgsearch.errors import InputError, UsageError

ALIASES = {
    "add": "index",
    "delete": "remove",
    "find": "query",
    "info": "status",
    "ls": "list",
    "rm": "remove",
    "saved": "save",
    "search": "query",
    "update": "index",
}
"""Other names of commands, as other programs have them."""
MISSING = {
    "undo": "there is no undo; what was removed comes back with: imgsearch index PATH",
}
"""Commands that somebody may expect → what there is instead."""
WORDS = frozenset(
    {
        *(
            "confit",
            "doctors",
            "expert",
            "queer",
            "remote",
            "score",
            "server",
            "shore",
            "smore",
            "snore",
            "sore",
        ),
        *(
            "spore",
            "stare",
            "statue",
            "statues",
            "stoke",
            "stole",
            "stone",
            "stored",
            "stores",
            "storey",
            "stork",
        ),
        *("storm", "story", "stove", "swore", "torte", "trail", "trains"),
    }
)
"""What people search for, though it is spelled nearly like a command."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The ``argv`` of the command that was meant, and the ``reason``; with ``offer``, only if the user says yes to it.

    ``otherwise`` is what to type where nobody can be asked.
    """

    argv: tuple[str, ...]
    reason: str
    offer: str = ""
    otherwise: str = ""


def enter(argv: Sequence[str], commands: Collection[str], flags: Collection[str]) -> Entry:
    """Return what is meant by ``argv``, given the names of the commands and the program's own flags.

    Raises UsageError where that can't be known.
    """
    if not argv:
        return Entry((), "nothing was typed")
    first, *rest = argv
    if first in commands:
        return Entry(tuple(argv), "a command")
    if first in ALIASES:
        return Entry((ALIASES[first], *rest), "another name of a command")
    if first == "help":
        return _help(argv, commands)
    if first == "version" and not rest:
        return Entry(("--version",), "another name of an option")
    if first.startswith("-") and first not in ("-", "--"):
        return _option_first(argv, commands, flags)
    if first in MISSING and all(_is_no_word(word, commands) for word in rest):
        raise UsageError(f"{MISSING[first]}; {_to_search(argv)}")
    return _path_first(argv) or _words(argv, commands)


def or_words(argv: Sequence[str], commands: Collection[str]) -> str:
    """Return how to search for what was typed, if a command that failed may have been meant as a word; else ''."""
    if (
        len(argv) < 2
        or argv[0] not in {*commands, *ALIASES} - {"query"}
        or any(_is_no_word(word, ()) for word in argv)
    ):
        return ""
    return f"; {_to_search(argv)}"


def check_words(words: Sequence[str]) -> None:
    """Raise UsageError for a query with a folder or an image among its words."""
    for number, word in enumerate(words):
        others = shlex.join([*words[:number], *words[number + 1 :]])
        if os.sep in word and os.path.isdir(word):
            inside = f"imgsearch query {others or 'WORDS'} --in {shlex.quote(word)}"
            raise UsageError(f"{word} is a folder; to search only in it: {inside}")
        if len(words) > 1 and is_image(word):
            what = "an address" if is_address(word) else "an image file"
            if all(map(is_image, words)):
                several = f"imgsearch similar {shlex.join(words)}"
                raise UsageError(f"{word} is {what}; to search by several images: {several}")
            combined = f"imgsearch query {others} + {shlex.quote(word)}"
            raise UsageError(f"{word} is {what}; to search by words and image: {combined}")


def check_image(image: str) -> None:
    """Raise InputError for what is given as an image and can't be a file."""
    if not image:
        raise InputError("the path is empty; give an image file: imgsearch similar photo.jpg")


def _leading(argv: Sequence[str]) -> list[str]:
    """Return the words before the first option; those after it may be its value."""
    return list(takewhile(lambda word: not word.startswith("-"), argv))


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of ``words`` that ``word`` is probably a slip for; None if it is like none of them."""
    scored = (
        (SequenceMatcher(None, word, other).ratio(), other)
        for other in words
        if abs(len(other) - len(word)) < 2
    )
    score, best = max(scored, default=(0.0, ""))
    # In a short word one letter more or less makes another word.
    slip = score >= 0.8 if len(best) > 4 else sorted(word) == sorted(best)
    return best if slip else None


def is_image_file(word: str) -> bool:
    """Return whether there is a file of this name, or it is in a bucket, and the name is that of an image."""
    return _names_image(word) and (is_remote(word) or os.path.isfile(word))


def is_address(word: str) -> bool:
    """Return whether a word is an address on the web."""
    if "://" not in word:
        return False
    from imgsearch.search.language.question import is_address

    return is_address(word)


def is_image(word: str) -> bool:
    """Return whether a word stands for an image: a file with the name of one, or an address."""
    return is_address(word) or is_image_file(word)


def _names_image(word: str) -> bool:
    from imgsearch.media.formats import EXTENSIONS

    return os.path.splitext(word)[1].lower() in EXTENSIONS


def _help(argv: Sequence[str], commands: Collection[str]) -> Entry:
    topics = [word for word in argv[1:] if not word.startswith("-")]
    topic = ALIASES.get(topics[0], topics[0]) if topics else ""
    if len(topics) > 1 or (topic and topic not in {*commands, "help", "advanced"}):
        near = nearest(topic, [*commands, *ALIASES])
        hint = f"did you mean: imgsearch help {near}" if near else "they are listed by: imgsearch help"
        raise UsageError(f"there is no command '{topic}'; {hint}; {_to_search(argv)}")
    if topic == "advanced":
        return Entry(("--help-all",), "help")
    flag = "--help-all" if "--help-all" in argv else "--help"
    return Entry((topic, flag) if topic in commands else (flag,), "help")


def _option_first(argv: Sequence[str], commands: Collection[str], flags: Collection[str]) -> Entry:
    plain = [word for word in argv if not word.startswith("-")]
    if argv[0].partition("=")[0] in flags or not plain:
        return Entry(tuple(argv), "the program's own option")
    for number, word in enumerate(argv):
        if word in commands or word in ALIASES:
            moved = shlex.join([word, *argv[:number], *argv[number + 1 :]])
            raise UsageError(f"options go after the command: imgsearch {moved}")
    return Entry(("query", *argv), "words")


def _path_first(argv: Sequence[str]) -> Entry | None:
    """Return what is meant by argv that begins with a path; None if it does not. Raises UsageError."""
    first = argv[0]
    words = _leading(argv)
    alone = len(words) == 1
    if _is_folder(first) and (alone or os.sep in first or all(map(_is_folder, words))):
        if not alone and not all(map(_is_folder, words)):
            quoted, others = shlex.quote(first), shlex.join(argv[1:])
            index, query = f"imgsearch index {quoted}", f"imgsearch query {others} --in {quoted}"
            raise UsageError(f"{first} is a folder; to index it: {index}; to search only in it: {query}")
        index = f"imgsearch index {shlex.join(argv)}"
        otherwise = f"{first} is a folder; to index it: {index}"
        if os.sep not in first:
            otherwise += f"; {_to_search(words)}"
        return Entry(("index", *argv), "a folder", f"Index {', '.join(words)}?", otherwise)
    if not alone and is_image_file(first):
        check_words(words)
    if alone and is_address(first):
        return Entry(("similar", *argv), "an address")
    if alone and is_remote(first):
        return Entry(("similar", *argv), "an image in a bucket")
    if alone and os.path.lexists(first) and (_names_image(first) or os.sep in first or "." in first):
        return Entry(("similar", *argv), "an image file")
    if first.startswith(("/", "./", "../", "~/")):
        raise UsageError(f"{first} does not exist")
    if alone and _names_image(first):
        raise UsageError(f"{first} does not exist; {_to_search(words)}")
    return None


def _is_folder(word: str) -> bool:
    """Whether a word is a folder; of an address the name tells, for to look takes a network."""
    if is_remote(word):
        return names_a_folder(word) or not os.path.splitext(word)[1]
    return os.path.isdir(word)


def _words(argv: Sequence[str], commands: Collection[str]) -> Entry:
    """Return the query for bare words, unless the first is nearly a command: UsageError."""
    first, *rest = argv
    near = nearest(first, [*commands, "search"])
    if near and near[0] in first[:2] and first not in WORDS:
        meant = shlex.join([near, *rest])
        raise UsageError(
            f"there is no command '{first}'; did you mean: imgsearch {meant}; {_to_search(argv)}"
        )
    return Entry(("query", *argv), "words")


def _is_no_word(word: str, commands: Collection[str]) -> bool:
    """Return whether something is a number, an option, a path or a command rather than a word to search for."""
    return word.isdecimal() or word.startswith("-") or word in commands or os.path.exists(word)


def _to_search(words: Sequence[str]) -> str:
    these = "these words" if len(words) > 1 else "the word"
    return f"to search for {these}: imgsearch query {shlex.join(words)}"
