"""gitignore patterns: what they match, compared with pathspec's, and in what time."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from imgsearch.files.patterns import NoPattern, Pattern, compile_all, parse

PIECES = [
    "a",
    "b",
    "é",
    "\udcff",
    "\n",
    "/",
    "*",
    "**",
    "?",
    "[ab]",
    "[!a]",
    "[a-b]",
    "\\a",
    "\\*",
    "!",
    "/**/",
    "**/",
    " ",
    ".",
]
patterns = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("".join)
names = st.text("ab é.*\udcff\n", min_size=1, max_size=4)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


def plain(line: str) -> Pattern | None:
    try:
        return parse(line)
    except NoPattern:
        return None


def of_pathspec(line: str) -> tuple[re.Pattern[str], bool] | None:
    """Return pathspec's expression for the entry itself, not for what is inside of it; None for no pattern."""
    try:
        [pattern] = GitIgnoreSpec.from_lines([line]).patterns
    except (ValueError, re.error):
        return None
    if pattern.regex is None or pattern.include is None:
        return None
    text = pattern.regex.pattern.replace("(?P<ps_d>/)", r"(?P<ps_d>/\Z)").replace("[^a]", "[^/a]")
    return re.compile(f"{text}." if text.endswith("/") else text), bool(pattern.include)


@given(patterns, paths, st.booleans())
@example("**/a/**/b", "b/a/a/b", False)
@example("*a*b", "aab", False)
@example("*ab*b", "ab", False)
@example("a/**", "a", True)
def test_a_pattern_means_what_it_means_to_pathspec(line: str, path: str, is_folder: bool) -> None:
    """Whatever pattern and name: the verdict is that of the library that tools for Python take for gitignore."""
    # Of what stands at the end pathspec has another opinion than git; and only a file's lines have newlines.
    assume(not line.startswith("#") and line.strip() and not line.rstrip().endswith(("**/", "//")))
    assume("\n" not in line and "//" not in line and line.rstrip("/ ") != "!")
    full = f"{path}/" if is_folder else path
    expected, ours = of_pathspec(line), plain(line)
    assert (ours is None) == (expected is None)
    if expected and ours:
        regex, leaves_out = expected
        # pathspec's dot stops at a newline, which a name may hold.
        verdict = leaves_out if regex.search(full.replace("\n", "\0")) else None
        assert compile_all([ours]).verdict(full) is verdict


@given(st.lists(st.sampled_from(["a", "!a", "b/", "!b", "*.c", "!/a", "x/y", "!x/*"]), max_size=8), paths)
@example(["*.c", "!a.c", "x/y", "a*"], "a.c")
def test_the_last_pattern_that_matches_decides(lines: list[str], path: str) -> None:
    """However patterns are put together to be quick, the last one with a word on a path has it."""
    alone = [compile_all([parse(line)]).verdict(path) for line in lines]
    spoken = [verdict for verdict in alone if verdict is not None]
    assert compile_all(map(parse, lines)).verdict(path) is (spoken[-1] if spoken else None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("*a" * 10 + "*b", "a" * 250 + ".png"),
        ("*a" * 400 + "*b", "a" * 250 + ".png"),
        ("*?" * 400 + "b", "a" * 250 + ".png"),
        ("*[a-b]*[!c]" * 80 + "c", "a" * 250 + ".png"),
        ("**/a/" * 150 + "b", "a/" * 2000 + "c"),
        ("**/*a*/" * 100 + "b", "aa/" * 2000 + "c"),
        ("/" + "**/a*a*a*a" * 90 + "/**/b", "aaaaaaaaaaaaaaaaaaaa/" * 1000 + "c"),
    ],
)
def test_no_pattern_takes_the_time_of_its_stars(line: str, path: str) -> None:
    """What goes back and forth between stars for years ends at once, and matches nothing."""
    assert compile_all([parse(line)]).verdict(path) is None


@pytest.mark.timeout(20)
def test_thousands_of_patterns_are_one_question() -> None:
    """A list as long as it may be is compiled, and asked about many names, in moments."""
    rules = compile_all(parse(f"{'!' * (number // 500 % 2)}name-{number:04}.jpg") for number in range(5000))
    assert [rules.verdict(f"a/b/name-{number:04}.jpg") for number in range(5000)] == (
        [True] * 500 + [False] * 500
    ) * 5
    assert [rules.verdict(f"a/other-{number}.jpg") for number in range(500)] == [None] * 500
