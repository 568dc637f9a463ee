"""What a terminal shows of an answer: rows that fit its width, paths that are told from here, bars, colours, links."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgsearch.cli.terminal.cells import cut, width
from imgsearch.cli.terminal.look import Look, takes_colour, takes_links
from imgsearch.cli.terminal.paths import linked, shortened, shown
from imgsearch.cli.terminal.rows import Row, Scale, Table
from imgsearch.text import printable

WIDTHS = (20, 40, 60, 80, 120, 200)
ESCAPES = re.compile(r"\x1b\[[\d;]*m|\x1b\]8;;[^\x1b]*\x1b\\")
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    | st.sampled_from("a0 ._-…写é👩\u200d\u0301\ufe0f\u202e\x1b\n"),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=8).map(lambda names: "/" + "/".join(names))


def table(
    *rows: Row, columns: int = 80, scale: Scale | None = None, last: int = 0, **look: bool
) -> list[str]:
    """Return the lines of rows on a terminal of some columns, numbered from 1."""
    drawn = Table(rows, Look(columns, **look), last or len(rows), scale)
    return [line for number, row in enumerate(rows, 1) for line in drawn.lines(row, number)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the test be in a folder of its own home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_a_row_has_number_bar_score_path_and_details() -> None:
    """The columns of an answer are as wide as its rows need; the approved look, without colours."""
    here = os.getcwd()
    rows = [
        Row(f"{here}/a/lake.jpg", 0.8124, details=("2023-07-14", "4032×3024")),
        Row(f"{here}/boat.png", 0.5, notes=("+1 copy",), details=("", "90×90")),
        Row(f"{os.environ['HOME']}/写真/湖.jpg", 0.2, alert="missing now", details=("2019-01-02", "640×480")),
        Row("/mnt/x.jpg", 0.1, details=("", ""), below=("0.1 spreads above chance",)),
    ]
    assert table(*rows, scale=Scale(0.2, 0.8124), last=10) == [
        " 1  ████████ 0.812  a/lake.jpg                    2023-07-14  4032×3024",
        " 2  ███▉     0.500  boat.png  (+1 copy)                       90×90",
        " 3           0.200  ~/写真/湖.jpg  (missing now)  2019-01-02  640×480",
        " 4           0.100  /mnt/x.jpg",
        "                    0.1 spreads above chance",
    ]


def test_details_give_way_before_a_short_path_does() -> None:
    """In a narrow window the size is left out first, then the date; a path that fits is shown whole."""
    row = Row("/photos/2023/summer holiday/IMG_0001.jpg", 0.5, details=("2023-07-14", "4032×3024"))
    lines = [table(row, columns=columns)[0] for columns in (80, 60, 50, 40)]
    assert lines == [
        "1  0.500  /photos/2023/summer holiday/IMG_0001.jpg  2023-07-14  4032×3024",
        "1  0.500  /photos/2023/summer…liday/IMG_0001.jpg  2023-07-14",
        "1  0.500  /photos/2023/summer holiday/IMG_0001.jpg",
        "1  0.500  /…/2023/summ…iday/IMG_0001.jpg",
    ]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (70, "~/Pictures/2023 Kenya and Tanzania, second week/raw/DSC_0815.NEF"),
        (50, "~/Pictures/2023 Kenya …econd week/raw/DSC_0815.NEF"),
        (36, "~/Pictures/2023…eek/raw/DSC_0815.NEF"),
        (30, "~/…/2023…week/raw/DSC_0815.NEF"),
        (24, "~/…/raw/DSC_0815.NEF"),
        (18, "~/…/DSC_0815.NEF"),
        (14, "…/DSC_0815.NEF"),
        (12, "…/DSC_…5.NEF"),
        (4, "…/D…"),
    ],
)
def test_the_middle_of_long_folders_goes_first_and_the_name_last(most: int, expected: str) -> None:
    """Long names of folders lose their middle, then folders are left out, and at last the name loses its own."""
    assert shortened("~/Pictures/2023 Kenya and Tanzania, second week/raw/DSC_0815.NEF", most) == expected


@given(PATHS, st.integers(1, 90))
@example("/a/b", 1)
@example("/" + "写" * 30 + "/x", 9)
def test_a_shortened_path_fits_and_tells_the_file(path: str, most: int) -> None:
    """It is never wider than asked, keeps the name where that fits, and "…" stands for what is missing."""
    whole = shown(path, "/here", "/home/me")
    short = shortened(whole, most)
    assert width(short) <= most
    name = whole.rpartition("/")[2]
    if width(name) + 2 <= most:
        assert short == whole or short.endswith(f"/{name}")
    if "…" not in whole and most > 3:
        assert re.fullmatch(".*".join(map(re.escape, short.split("…"))), whole, re.DOTALL)


@given(st.lists(PATHS, min_size=1, max_size=6, unique=True), st.sampled_from(WIDTHS))
@example(["/photos/2023-07 safari, day one/1.jpg", "/photos/2023-07 safari, day two/1.jpg"], 20)
def test_rows_fit_the_window_and_differ(paths: list[str], columns: int) -> None:
    """No first line of a row is wider than the window, and no two rows of different files look the same."""
    rows = [Row(path, 0.5, notes=("+2 copies",), details=("2023-07-14", "1×1")) for path in paths]
    drawn = Table(rows, Look(columns), len(rows))
    texts = ["\n".join(drawn.lines(row, 1)) for row in rows]
    assert all(width(text.split("\n")[0]) <= max(columns, 25) for text in texts)
    assert len({*texts}) == len({printable(path) for path in paths})


def test_two_images_that_look_alike_are_told_apart() -> None:
    """Where two rows would show the same, the whole path stands below each of them."""
    rows = [Row(f"/photos/2023-07 safari, {day}/1.jpg", 0.5) for day in ("Monday", "Sunday")]
    assert table(*rows, columns=32) == [
        "1  0.500  /photos/2023…day/1.jpg",
        "          /photos/2023-07",
        "          safari, Monday/1.jpg",
        "2  0.500  /photos/2023…day/1.jpg",
        "          /photos/2023-07",
        "          safari, Sunday/1.jpg",
    ]


@given(PATHS)
def test_what_is_shown_names_the_file(path: str) -> None:
    """A path is told from the current folder or from home only where it lies below; nothing else begins with "~"."""
    for here, home in (("/here", "/home/me"), ("/", "/root"), ("", "")):
        text = shown(path, here, home)
        if here and path.startswith(here.rstrip("/") + "/"):
            assert text.removeprefix("./") == printable(path[len(here.rstrip("/")) + 1 :])
            assert not text.startswith(("~", "-", "/"))
        else:
            assert text == printable(path)
    assert shown("/home/me/a.jpg", "/here", "/home/me") == "~/a.jpg"
    assert shown("/home/me2/a.jpg", "/home/me", "/home/me") == "/home/me2/a.jpg"
    assert shown("/here/~/a.jpg", "/here", "/home/me") == "./~/a.jpg"
    assert shown("/home/me/Pictures/a.jpg", "/home/me/Pictures", "/home/me") == "a.jpg"
    assert shown("/home/me/Pictures/a.jpg", "/home", "/home/me") == "~/Pictures/a.jpg"


@given(NAMES, st.integers(1, 30))
def test_a_cut_text_fits(name: str, most: int) -> None:
    """A cut text is as wide as asked at most, and begins and ends as the whole one does."""
    text = printable(name)
    short = cut(text, most)
    assert width(short) <= most
    if short != text:
        first, _, last = short.partition("…")
        assert text.startswith(first)
        assert text.endswith(last)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("abc", 3),
        ("写真", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("한글", 4),
        ("❤\ufe0f", 2),
        ("🇩🇪", 2),
        ("ｶﾅ", 2),
        ("🎉x", 3),
    ],
)
def test_wide_characters_count_twice_and_marks_not_at_all(text: str, cells: int) -> None:
    """East Asian characters and emoji take two cells; accents that are characters of their own take none."""
    assert width(text) == cells


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), max_size=12))
def test_no_text_is_wider_than_counted(text: str) -> None:
    """Compared with the library that knows all of Unicode, a text never takes more cells than counted."""
    wcwidth = pytest.importorskip("wcwidth")
    text = "".join(char for char in printable(text) if unicodedata.category(char) not in ("Cf", "Mc"))
    assert width(text) >= wcwidth.wcswidth(text)


@given(PATHS)
def test_a_link_is_the_files_bytes(path: str) -> None:
    """Whatever bytes a name has, the link holds them percent-encoded, with the host, and nothing that ends it early."""
    path = path[:200]
    link = linked("text", path)
    if link == "text":  # too long for a terminal: then there is none
        assert len(os.fsencode(path)) > 600
        return
    found = re.fullmatch(r"\x1b\]8;;(.*?)\x1b\\text\x1b\]8;;\x1b\\", link)
    assert found
    address = found[1]
    assert re.fullmatch(r"[!-~]+", address)
    parts = urlsplit(address)
    assert (parts.scheme, bool(parts.netloc)) == ("file", True)
    assert unquote_to_bytes(parts.path) == os.fsencode(path)


def test_a_name_that_is_not_utf_8_is_linked_by_its_bytes() -> None:
    """The byte 0xff is %FF in the link, and \\xff in the text."""
    line = table(Row("/p/\udcff.jpg", 0.5), links=True)[0]
    assert "/p/%FF.jpg\x1b\\" in line
    assert ESCAPES.sub("", line) == r"1  0.500  /p/\xff.jpg"


@pytest.mark.parametrize(
    "name", ["\x1b]0;pwned\x07.png", "a\nb.png", "\u202egnp.exe", "\x9b31m.png", "\x1b\\.png"]
)
def test_nothing_in_a_name_acts_on_the_terminal(name: str) -> None:
    """Without colours and links no line holds a control character; with them only our own sequences do."""
    plain = table(Row(f"/p/{name}", 0.5, details=("2023-07-14", "")))
    full = table(Row(f"/p/{name}", 0.5, details=("2023-07-14", "")), colour=True, links=True)
    for lines in (plain, [ESCAPES.sub("", line) for line in full]):
        assert len(lines) == 1
        assert all(unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp") for char in lines[0])
    assert plain == [ESCAPES.sub("", line) for line in full]


def test_colours_set_the_name_apart_and_red_is_none_of_them() -> None:
    """The name is bold, details are dim, the bar is cyan, or dim for chance; an alert is yellow."""
    far = Row("/p/a.jpg", 0.1, details=("2023-07-14",), alert="missing now", far=True)
    near, chance = table(Row("/p/b.jpg", 0.9, details=("2023-07-14",)), far, scale=Scale(0, 0.9), colour=True)
    assert (
        near
        == "1  \x1b[36m████████\x1b[m 0.900  /p/\x1b[1mb.jpg\x1b[m                 \x1b[2m2023-07-14\x1b[m"
    )
    assert "\x1b[2m▉       \x1b[m 0.100" in chance
    assert "\x1b[33m  (missing now)\x1b[m" in chance
    assert "\x1b[31" not in near + chance


def test_bars_tell_scores_of_one_answer_apart() -> None:
    """The best score is a full bar, the floor and less an empty one, and half way up is half of it."""
    scale = Scale.of([0.9, 0.6, 0.3, 0.1], floor=0.3, spread=0.05)
    assert [scale.bar(score, 8) for score in (0.9, 0.6, 0.3, 0.1)] == ["█" * 8, "████    ", " " * 8, " " * 8]


def test_an_answer_of_chance_has_short_bars() -> None:
    """Where even the best is no further from the floor than chance brings some, its bar is not full."""
    scale = Scale.of([0.4, 0.39], floor=0.3, spread=0.05)
    assert scale.bar(0.4, 6) == "██    "
    # A floor that leaves no room for six spreads: the bar is full where a score can't be better.
    assert Scale.of([0.5], floor=0.4, spread=0.2).full == 1.0


@pytest.mark.parametrize(
    ("when", "terminal", "variables", "coloured"),
    [
        ("auto", True, {"TERM": "xterm"}, True),
        ("auto", False, {"TERM": "xterm"}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", True, {}, False),
        ("auto", True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        ("auto", True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "xterm", "CLICOLOR": "0"}, False),
        ("auto", True, {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ("auto", True, {"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("auto", True, {"TERM": "dumb", "CLICOLOR_FORCE": "0"}, False),
        ("auto", False, {"TERM": "xterm", "CLICOLOR_FORCE": "1", "FORCE_COLOR": "1"}, False),
        ("always", False, {"NO_COLOR": "1", "TERM": "dumb"}, True),
        ("never", True, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_follow_the_option_and_then_the_conventions(
    when: str, terminal: bool, variables: dict[str, str], coloured: bool
) -> None:
    """--color decides; then NO_COLOR, what forces colours, CLICOLOR and TERM; no variable colours what a pipe gets."""
    assert takes_colour(when, variables, terminal=terminal) is coloured  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variables", "links"),
    [
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7200"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "5000"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "nonsense"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "foot"}, True),
        ({"TERM": "alacritty"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230400"}, True),
        ({"TERM": "xterm-256color", "WT_SESSION": "x"}, True),
        ({"TERM": "linux"}, False),
        ({"TERM": "dumb", "VTE_VERSION": "7200"}, False),
        ({"VTE_VERSION": "7200"}, False),
        ({"TERM": "screen", "VTE_VERSION": "7200"}, False),
        (
            {"TERM": "tmux-256color", "TMUX": "x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.5a"},
            True,
        ),
        ({"TERM": "screen", "TMUX": "x", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.3a"}, False),
        ({"TERM": "screen", "TMUX": "x", "VTE_VERSION": "7200"}, False),
        ({"TERM": "xterm", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_links_are_for_terminals_that_are_known_to_have_them(variables: dict[str, str], links: bool) -> None:
    """Unknown terminals, old versions and what is inside GNU screen get no links."""
    assert takes_links(variables) is links
