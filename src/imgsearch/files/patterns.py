"""gitignore patterns → what they say of a path, in time that grows with its length and not with its stars.

They may be a stranger's. In a regular expression ``*a*a*a*b`` takes the years of its backtracking; here every part
between two stars takes the first place where it fits and keeps it. That misses nothing, since a part is as long as what
it matches: an earlier place only leaves more room for those after it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_PATTERNS = 5_000
"""In a list."""
LONGEST = 1_000
"""Characters of a pattern."""


class NoPattern(ValueError):
    """A line is not a gitignore pattern; the message tells why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line, compiled: it leaves out what ``regex`` matches, or takes it in (``takes_in``).

    With ``of_name`` that is the name alone, else the whole path; either has a slash at the end if it is a folder's.
    """

    regex: str
    of_name: bool
    takes_in: bool


@dataclass(frozen=True, slots=True)
class PatternList:
    """Patterns by precedence: runs of those with the same verdict (True leaves out), the last line's first.

    A run has one expression for names and one for paths, None where it has no such pattern.
    """

    runs: tuple[tuple[bool, re.Pattern[str] | None, re.Pattern[str] | None], ...]

    def verdict(self, path: str) -> bool | None:
        """Return whether a path is left out; None if no pattern matches it. A folder's ends in a slash."""
        name = path[path.rstrip("/").rfind("/") + 1 :]
        for verdict, of_names, of_paths in self.runs:
            if (of_names and of_names.match(name)) or (of_paths and of_paths.match(path)):
                return verdict
        return None


def compile_all(patterns: Iterable[Pattern]) -> PatternList:
    """Compile patterns, of which the last that matches decides."""
    runs = []
    for takes_in, run in itertools.groupby(reversed(list(patterns)), lambda pattern: pattern.takes_in):
        same = list(run)
        of_names, of_paths = (
            [pattern.regex for pattern in same if pattern.of_name is kind] for kind in (True, False)
        )
        runs.append((not takes_in, _any_of(of_names), _any_of(of_paths)))
    return PatternList(tuple(runs))


def _any_of(regexes: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(regexes), re.DOTALL) if regexes else None


def parse(line: str) -> Pattern:
    """Read a line that is neither blank nor a comment. Raises NoPattern; git drops such a line in silence."""
    if len(line) > LONGEST:
        raise NoPattern(f"it has {len(line):,} characters, at most {LONGEST:,} are allowed")
    pattern = line if line.endswith("\\ ") else line.rstrip()
    takes_in = pattern.startswith("!")
    segments = pattern[takes_in:].split("/")
    if not any(segments):
        raise NoPattern("it names nothing")
    folders_only = not segments[-1]
    if folders_only:
        del segments[-1]
    if not segments[0]:
        del segments[0]
    elif len(segments) == 1 or (len(segments) == 2 and segments[0] == "**" and segments[1] != "**"):
        # A single name, at any depth: there is no need to look at the folders above it.
        regex = _segment("*" if segments[-1] == "**" else segments[-1])
        return Pattern(regex + _end(folders_only), True, takes_in)
    return Pattern(_path(segments, folders_only), False, takes_in)


def _end(folders_only: bool) -> str:
    return r"/\Z" if folders_only else r"/?\Z"


def _path(segments: list[str], folders_only: bool) -> str:
    """Return the expression for the whole path of an entry."""
    regex = ""
    groups = [list(group) for is_stars, group in itertools.groupby(segments, "**".__eq__) if not is_stars]
    open_start, open_end = segments[0] == "**", segments[-1] == "**"
    for number, group in enumerate(groups):
        names = "/".join(map(_segment, group))
        is_last = number == len(groups) - 1
        if number or open_start:
            names = rf"(?:[^/]+/)*?{names}"
        if not is_last or open_end:
            names = f"(?>{names}/)"
        regex += names
    if open_end:  # what is inside, not the folder itself
        return regex + (r".+/\Z" if folders_only else ".")
    return regex + _end(folders_only)


def _segment(segment: str) -> str:
    """Return the expression for one name between slashes: that of a folder, or the last one."""
    first, *others = _parts(segment)
    if not others:
        return "".join(first)
    regex = "".join(first)
    for part in others[:-1]:
        regex += f"(?>[^/]*?{''.join(part)})"
    last = others[-1]
    if not last:
        return regex + ("[^/]*+" if first or others[:-1] else "[^/]++")
    # To the end of the name, and there it is looked back.
    return f"{regex}[^/]{{{len(last)}}}[^/]*+(?<={''.join(last)})"


def _parts(segment: str) -> list[list[str]]:
    """Split a name at its stars; each part is a list of expressions for one character."""
    parts: list[list[str]] = [[]]
    at = 0
    while at < len(segment):
        character = segment[at]
        at += 1
        if character == "*":
            if parts[-1] or len(parts) == 1:  # several stars are one
                parts.append([])
        elif character == "?":
            parts[-1].append("[^/]")
        elif character == "[":
            expression, at = _class(segment, at)
            parts[-1].append(expression)
        elif character != "\\":
            parts[-1].append(re.escape(character))
        elif at == len(segment):
            raise NoPattern("it ends in a backslash")
        else:
            parts[-1].append(re.escape(segment[at]))
            at += 1
    return parts


def _class(segment: str, at: int) -> tuple[str, int]:
    """Return the expression for a set of characters such as [!a-z], from after its bracket, and where it ends."""
    negated = segment[at : at + 1] in ("!", "^")
    start = at = at + negated
    ranges = ""
    while segment[at : at + 1] != "]" or at == start:
        low, at = _member(segment, at)
        high = low
        if segment[at : at + 1] == "-" and segment[at + 1 : at + 2] not in ("", "]"):
            high, at = _member(segment, at + 1)
        if high < low:
            raise NoPattern(f"its range {low}-{high} holds nothing")
        ranges += f"{re.escape(low)}-{re.escape(high)}"
    # A range such as +-0 has the slash in it, which no set matches.
    return f"[^/{ranges}]" if negated else f"(?!/)[{ranges}]", at + 1


def _member(segment: str, at: int) -> tuple[str, int]:
    at += segment[at : at + 1] == "\\"
    if at >= len(segment):
        raise NoPattern("its bracket isn't closed")
    return segment[at], at + 1
