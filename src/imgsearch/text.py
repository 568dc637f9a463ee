"""What a person reads, put into words: messages, sizes, durations, rates, counts, errors, paths made printable.

A message names options and calls as data. ``str`` spells them for a caller in Python (``dim=4096``,
``remove_paths(paths=['a'])``), ``cli.spelling`` for a shell (``--dim 4096``, ``imgsearch remove a``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from imgsearch.addresses import without_password


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter that a message names, by its name in Python: alone, with a value, or with what stands for one.

    ``Option("dtype")``, ``Option("dim", 4096)``, ``Option("model", metavar="DIR")``.
    """

    name: str
    value: Any = None
    metavar: str = ""

    def __str__(self) -> str:
        """Return it as Python has it: ``dtype``, ``dim=4096``, ``model=DIR``."""
        if self.metavar:
            return f"{self.name}={self.metavar}"
        return self.name if self.value is None else f"{self.name}={self.value!r}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a message names: a function or dataclass of the package with its arguments by name.

    An argument may be a Call itself: ``Call("index_pictures", {"options": Call("IndexOptions", {"rebuild": True})})``.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return it as Python has it; a Call within a Call reads the same."""
        return f"{self.function}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"

    @staticmethod
    def of(options: Any) -> Call:
        """Return the call that makes the dataclass ``options``, without what is left at its default."""
        changed = {}
        for item in fields(options):
            default = item.default if item.default_factory is MISSING else item.default_factory()
            value = getattr(options, item.name)
            if value != default:
                changed[item.name] = Call.of(value) if hasattr(value, "__dataclass_fields__") else value
        return Call(type(options).__name__, changed)


class Message(str):
    """A line for a person: as str in Python's words, and ``parts`` keeps its options and calls as data.

    An f-string makes plain text of it, in Python's words; ``Message(f"{count} left out: ", message)`` keeps the data.
    """

    parts: tuple[str | Option | Call, ...]

    def __new__(cls, *parts: str | Option | Call) -> Message:
        """Join text, options, calls and other messages, with nothing between them."""
        flat: list[str | Option | Call] = []
        for part in parts:
            flat.extend(part.parts if isinstance(part, Message) else (part,))
        message = super().__new__(cls, "".join(map(str, flat)))
        message.parts = tuple(flat)
        return message

    @staticmethod
    def joined(between: str, messages: Iterable[str]) -> Message:
        """Return the messages as one, with ``between`` between them: ``between.join`` that keeps their data."""
        parts: list[str] = []
        for message in messages:
            parts += [between, message]
        return Message(*parts[1:])


_SHOWN, _SHOWN_FIRST = 200, 60  # characters of a path in a message; the rest is its end, with the file's name


def format_rate(rate: float) -> str:
    """Put a rate into two or so digits: '0.31', '8.2', '118'."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def format_duration(seconds: float) -> str:
    """Put a duration into words, no finer than it is known: '40 s', '12 min', '3 h 20 min', '5 days'."""
    if seconds < 10:
        return f"{max(0.1, seconds):.1f} s"
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if hours < 10 else f"{hours} h"
    return f"{round(hours / 24)} days"


def display_path(path: str) -> str:
    """Return a path as it fits into a message: its middle cut out if it is long, and quoted and escaped where it
    holds what can't be printed. An address is shown without its password.
    """
    path = without_password(path)
    if len(path) > _SHOWN:
        path = f"{path[:_SHOWN_FIRST]}…{path[_SHOWN_FIRST + 1 - _SHOWN :]}"
    return path if path.isprintable() else ascii(path)


def format_bytes(count: float, decimals: int = 1) -> str:
    """Put a number of bytes into MB with so many decimals, or from a billion on into GB: '0.3 MB', '4.3 GB'."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.{decimals}f} MB"


def short_count(number: int) -> str:
    """Write a count of parameters as the published tables do: 2.1B, 428M, 3.1M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            amount = number / size
            return f"{amount:.0f}{unit}" if amount >= 100 else f"{amount:.1f}{unit}"
    return str(number)


def error_line(error: BaseException, most: int = 200, *, first: bool = False) -> str:
    """Return what an error says as one line of at most so many characters; its class if it says nothing.

    Of an OSError that is what the system said, without the number and the path that str() adds; a number that another
    error has taken over from one is left out too. ``first`` takes
    the first line alone of an error that goes on with advice.
    """
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    text = text.strip().partition("\n")[0] if first else text
    text = re.sub(r"^\[Errno -?\d+\] ", "", text)
    return " ".join(text.split())[:most] or type(error).__name__


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: 1 picture, 2,000 pictures."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """Return a path or text as one line that can't move the cursor, with nothing in it that is not seen.

    Control characters, lone bytes and invisible marks are escaped.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_shown(text, at) else _escaped(char) for at, char in enumerate(text))


def shell_quoted(path: str) -> str:
    """Return a path as a line of a terminal: as it is, or, with what can't be printed, as ``$'…'`` for a shell."""
    if printable(path) == path:
        return path
    return f"$'{printable(path.translate(_IN_QUOTES))}'"


_IN_QUOTES = {ord("\\"): "\\\\", ord("'"): "\\'"}


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or all spaces, control characters and marks such as U+FEFF."""
    return all(unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp") for char in text)


def _is_shown(text: str, at: int) -> bool:
    """Whether a character of a text shows, and stands where it is."""
    char = text[at]
    if char.isascii():
        return char.isprintable()
    if char in "\u200c\u200d":  # they shape emoji and scripts; between letters of ASCII they only hide
        return not text[at - 1 : at].isascii() and not text[at + 1 : at + 2].isascii()
    # Not str.isprintable: that is False for spaces that real file names hold, such as U+202F and U+3000.
    category = unicodedata.category(char)
    return (
        category not in ("Cc", "Cs", "Zl", "Zp")
        and (category != "Cf" or char in _SEEN)
        and char not in _UNSEEN
    )


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


# Marks are invisible or reorder what stands around them, so that "gpj.exe" reads as something else; but for these.
_SEEN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Letters and signs that look like nothing.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
