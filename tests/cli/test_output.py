"""What is printed: harmless lines, JSON that keeps every byte of a path, progress for either kind of stream."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.cli import output
from imgsearch.text import Call, Message, printable
from imgsearch.types import Hit


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def nothing_is_waited_for() -> Iterator[None]:
    """Whatever a test left on its screen is not taken away from the next one's."""
    yield
    output.stop_waiting()


@given(st.text())
def test_a_printed_text_is_one_line_without_control_characters(text: str) -> None:
    """Whatever a file is called, its printed name stays on one line and moves no cursor."""
    printed = printable(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in printed)
    printed.encode()  # can be written anywhere


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
def test_json_keeps_every_byte_of_a_path(name: bytes) -> None:
    """A path with any bytes in it comes back from the JSON line exactly."""
    hit = Hit(1, 0.5, os.fsdecode(b"/" + name), 0, (), False, 1, 1)
    written = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
        output.hits([hit], "json")
        data = written.getvalue()
    assert data.count(b"\n") == 1
    answer = json.loads(data)
    assert os.fsencode(answer["path"]) == b"/" + name
    assert ("path_b64" in answer) == any("\ud800" <= char <= "\udfff" for char in answer["path"])
    assert base64.b64decode(answer.get("path_b64", "")) in (b"", b"/" + name)


def test_json_has_the_bytes_of_all_copies_if_one_is_not_utf8() -> None:
    """A list of paths has its bytes beside it, all of them in order, so that the two lists go together."""
    hit = Hit(1, 0.5, "/a.png", 0, ("/é.png", "/\udcff.png"), False, 1, 1).as_json()
    assert (hit["path"], "path_b64" in hit) == ("/a.png", False)
    assert [base64.b64decode(copy) for copy in hit["copies_b64"]] == ["/é.png".encode(), b"/\xff.png"]
    assert "copies_b64" not in Hit(1, 0.5, "/a.png", 0, ("/é.png",), False, 1, 1).as_json()


class Terminal(io.TextIOWrapper):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("/p/\x1b]0;pwned\x07.png", r"$'/p/\x1b]0;pwned\x07.png'"),
        ("/p/two\nlines it's.png", r"$'/p/two\nlines it\'s.png'"),
        ("/p/\udcff\\n.png", r"$'/p/\xff\\n.png'"),
        ("/p/\u202egnp.exe", r"$'/p/\u202egnp.exe'"),
        ("/p/\x9b31m.png", r"$'/p/\x9b31m.png'"),
        ("/p/写真 it's\\.png", "/p/写真 it's\\.png"),
    ],
)
def test_paths_are_quoted_on_a_terminal_and_only_there(name: str, quoted: str) -> None:
    """A name with what would act on the terminal is shown as a shell takes it; a pipe and -0 get its very bytes."""
    for stream, nul, expected in (
        (Terminal, False, quoted.encode() + b"\n"),
        (Terminal, True, os.fsencode(name) + b"\0"),
        (io.TextIOWrapper, False, os.fsencode(name) + b"\n"),
    ):
        written = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream(written, write_through=True))
            output.paths([name], nul=nul)
            assert written.getvalue() == expected


@pytest.mark.parametrize(
    "mark", ["\u200b", "\u200e", "\u200f", "\u061c", "\u2060", "\ufeff", "\u00ad", "\u3164", "\u200d"]
)
def test_what_is_not_seen_is_made_visible(mark: str) -> None:
    """Two names that look alike are printed so that they can be told apart."""
    assert printable(f"a{mark}b.jpg") == f"a{mark.encode('unicode_escape').decode()}b.jpg"


@pytest.mark.parametrize(
    "name",
    [
        "写真 .jpg",
        "می\u200cخواهم.jpg",
        "क्\u200dष.jpg",
        "؀١٢.jpg",
        "Screenshot 9.41\u202fAM.png",
        "👩‍🚀.png",
        "café.jpg",
    ],
)
def test_ordinary_names_of_the_world_are_printed_as_they_are(name: str) -> None:
    """Letters, spaces and emoji of any script are no control characters."""
    assert printable(name) == name


def stderr(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> Screen:
    """Put a terminal or a pipe in the place of stderr, with the settings of a command without flags."""
    output.stop_waiting()  # of the test before
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(output, "settings", output.Settings())
    return screen


def shown(screen: Screen) -> list[str]:
    """Return the lines that a terminal shows after all that was written; a carriage return overwrites."""
    lines = []
    for line in screen.getvalue().split("\n"):
        cells: list[str] = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def test_a_bar_shows_count_rate_time_left_and_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal progress is a bar with count, rate, time left and the folder; a line stands above it."""
    screen = stderr(monkeypatch, terminal=True)
    monkeypatch.setenv("COLUMNS", "120")
    reporter = output.ProgressReporter()
    reporter.start(12_345, "images")
    assert "  0%" in shown(screen)[-1]
    reporter._bar.mininterval = 0  # type: ignore[union-attr]
    reporter.advance(1_234, "2023/Kenya")
    above = shown(screen)[-1]
    assert "1,234 of 12,345 images, " in above
    assert "/s, " in above
    assert above.endswith(" left  2023/Kenya")
    reporter.say("a line")
    reporter.stop()
    assert shown(screen) == ["a line", ""]


def test_what_is_waited_for_gives_way_to_the_next_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a wait is shown at once; a line, an error or the end of the wait takes its place."""
    screen = stderr(monkeypatch, terminal=True)
    reporter = output.ProgressReporter()
    reporter.wait("Loading the model")
    assert shown(screen) == ["Loading the model…"]
    reporter.wait("Searching")
    assert shown(screen) == ["Searching…"]
    reporter.say("a line")
    reporter.wait("Searching")
    output.error("no")
    reporter.wait("Searching")
    reporter.stop()
    assert shown(screen) == ["a line", "imgsearch: no", ""]


def test_what_is_waited_for_gives_way_to_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results on stdout stand where the wait was shown, not behind it."""
    screen = stderr(monkeypatch, terminal=True)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    output.ProgressReporter().wait("Searching")
    output.line("a hit")
    assert shown(screen) == [""]


def test_what_is_waited_for_fits_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long path is cut, so that the line can be taken away again, with a Ctrl-C behind it."""
    screen = stderr(monkeypatch, terminal=True)
    monkeypatch.setenv("COLUMNS", "40")
    output.ProgressReporter().wait("Scanning " + "x" * 100)
    assert len(shown(screen)[-1]) == 37


def test_on_a_terminal_no_word_or_command_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message longer than a terminal is wide ends its lines between words, and keeps a command in one piece."""
    monkeypatch.setenv("COLUMNS", "40")
    message = Message(
        "  18 indexed, 2 skipped, to see why type: ",
        Call("skipped_files"),
        ", then look at the files themselves",
    )
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    output.ProgressReporter().say(message)
    assert screen.getvalue() == (
        "  18 indexed, 2 skipped, to see why\n"
        "type: imgsearch status --errors, then\n"
        "look at the files themselves\n"
    )
    pipe = Screen(terminal=False)
    monkeypatch.setattr(sys, "stderr", pipe)
    output.error(message)
    assert pipe.getvalue().count("\n") == 1


def test_nothing_is_drawn_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is no terminal, a wait leaves no trace."""
    pipe = stderr(monkeypatch, terminal=False)
    reporter = output.ProgressReporter()
    reporter.wait("Loading the model")
    reporter.stop()
    assert pipe.getvalue() == ""


def test_quiet_leaves_only_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --quiet there are no lines, no waits and no bar; errors are shown."""
    screen = stderr(monkeypatch, terminal=True)
    output.settings.level = output.QUIET
    reporter = output.ProgressReporter()
    reporter.wait("Loading the model")
    reporter.start(10, "images")
    reporter.advance(3)
    reporter.say("a line")
    reporter.stop()
    output.error("no")
    assert screen.getvalue() == "imgsearch: no\n"


def test_details_are_for_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detail is a line with --verbose, and nothing without it."""
    pipe = stderr(monkeypatch, terminal=False)
    reporter = output.ProgressReporter()
    reporter.detail("on cpu")
    output.settings.level = output.VERBOSE
    reporter.detail("on cpu in float32")
    assert pipe.getvalue() == "on cpu in float32\n"


def test_elsewhere_a_line_comes_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is no terminal, progress is a line with count, rate and time left every five seconds."""
    pipe = stderr(monkeypatch, terminal=False)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter = output.ProgressReporter()
    reporter.start(400, "images")
    for _ in range(100):
        now[0] += 0.25
        reporter.advance(4, "a folder")
    reporter.stop()
    assert pipe.getvalue().splitlines() == [
        "80 of 400 images, 16/s, 20 s left",
        "160 of 400 images, 16/s, 15 s left",
        "240 of 400 images, 16/s, 10 s left",
        "320 of 400 images, 16/s, 5.0 s left",
    ]


def test_bytes_are_told_in_the_unit_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress of a download is in MB below a billion bytes and in GB from there on."""
    pipe = stderr(monkeypatch, terminal=False)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter = output.ProgressReporter()
    reporter.start(4_000_000_000, "bytes")
    for now[0] in (10.0, 20.0):
        reporter.advance(500_000_000 if now[0] == 10 else 1_500_000_000)
    assert pipe.getvalue().splitlines() == [
        "500 MB of 4.0 GB, 50.0 MB/s, 70 s left",
        "2.0 GB of 4.0 GB, 100.0 MB/s, 20 s left",
    ]


def test_a_count_without_an_end_is_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody knows how many there will be, the line tells only how many there are."""
    pipe = stderr(monkeypatch, terminal=False)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter = output.ProgressReporter()
    reporter.start(0, "images found")
    now[0] = 6.0
    reporter.advance(12_345)
    assert pipe.getvalue() == "12,345 images found\n"
