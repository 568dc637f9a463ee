"""How a path is shown: from the current folder or the home folder, in so many cells, and as a link to the file."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from urllib.parse import quote, quote_from_bytes

from imgsearch.cli.terminal.cells import ELLIPSIS, cut, width
from imgsearch.fs import is_below
from imgsearch.text import printable

_LEAST = 8
"""Cells of a folder's name, below which it is left out instead."""
_LONGEST_LINK = 2083
"""Bytes of an address, of which VTE takes no more."""
_LONGEST_EXTENSION = 6


def here_and_home() -> tuple[str, str]:
    """Return the current folder, "" if it is gone, and the home folder: from where paths are shown."""
    with suppress(FileNotFoundError):
        return os.getcwd(), os.path.expanduser("~")
    return "", os.path.expanduser("~")


def shown(path: str, here: str, home: str) -> str:
    """Return an absolute path as a person reads it, on one line: from ``here`` if below that, ~/… if below ``home``.

    Both are absolute, "" for none; the deeper of them counts. What begins with neither / nor ~ lies below ``here``.
    """
    at_home = home != "" and is_below(path, home)
    if here and is_below(path, here) and not (at_home and is_below(home, here)):
        inside = printable(path[len(here.rstrip("/")) + 1 :])
        return f"./{inside}" if inside.startswith(("~", "-")) else inside
    if at_home:
        return f"~/{printable(path[len(home.rstrip('/')) + 1 :])}"
    return printable(path)


def shortened(path: str, most: int) -> str:
    """Return a path, as ``shown`` has it, in at most so many cells; "…" stands for what is left out.

    The middle of long names of folders goes first, then folders, those before the last ones first, and the middle of
    the file's own name last. ``most`` is 1 or more.
    """
    if width(path) <= most:
        return path
    *folders, name = path.split("/")
    for kept in _fewer(folders):
        widths = [width(folder) for folder in kept]
        rest, longest = most - width(name) - len(kept), max(widths)
        limits = range(min(_LEAST, longest), longest + 1)
        # The longest names give way first: all get the same limit, the largest with which they fit.
        fitting = bisect_right(limits, rest, key=lambda limit: sum(min(cells, limit) for cells in widths))
        if fitting:
            limit = limits[fitting - 1]
            return "/".join([*(cut(folder, limit) if folder else "" for folder in kept), name])
    before = f"{ELLIPSIS}/" if folders and most > 3 else ""
    extension = os.path.splitext(name)[1]
    last = width(extension) + 1 if len(extension) <= _LONGEST_EXTENSION else 0
    return before + cut(name, most - width(before), last)


def _fewer(folders: Sequence[str]) -> Iterator[list[str]]:
    """Yield all folders, then fewer and fewer: without those behind the first, at last without any."""
    if not folders:
        return
    yield list(folders)
    first, rest = folders[0], folders[1:]
    for count in range(len(rest) - 1, -1, -1):
        yield [first, ELLIPSIS, *rest[len(rest) - count :]]
    yield [ELLIPSIS]


def linked(text: str, path: str) -> str:
    """Return a text as a link to the file at an absolute path, for a terminal that has OSC 8.

    The host is named as the terminal may be on another one (over ssh): it then knows not to open its own file.
    """
    address = f"file://{quote(os.uname().nodename)}{quote_from_bytes(os.fsencode(path))}"
    if len(address) > _LONGEST_LINK:
        return text
    return f"\x1b]8;;{address}\x1b\\{text}\x1b]8;;\x1b\\"
