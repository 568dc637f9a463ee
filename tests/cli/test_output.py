"""What is printed: harmless lines, JSON that keeps every byte of a path, progress for either kind of stream."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.cli import output
from imgsearch.text import printable
from imgsearch.types import Hit


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


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
    assert os.fsencode(json.loads(data)["path"]) == b"/" + name


@pytest.mark.parametrize("name", ["写真 .jpg", "Screenshot 9.41\u202fAM.png", "👩‍🚀.png", "café.jpg"])
def test_ordinary_names_of_the_world_are_printed_as_they_are(name: str) -> None:
    """Letters, spaces and emoji of any script are no control characters."""
    assert printable(name) == name


def test_on_a_terminal_a_bar_shows_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal progress is a bar with count, rate and time left, and a line said meanwhile stands above it."""
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    talker = output.ProgressReporter()
    talker.start(10, "pictures")
    talker.advance(3)
    talker.say("a line")
    talker.advance(7)
    talker.stop()
    drawn = screen.getvalue()
    assert "10 [" in drawn
    assert "pictures/s" in drawn
    assert "a line\n" in drawn


def test_elsewhere_a_line_comes_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is no terminal, progress is a line with count, rate and time left every five seconds."""
    screen, now = Screen(terminal=False), [100.0]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    talker = output.ProgressReporter()
    talker.start(100, "pictures")
    for _ in range(100):
        now[0] += 0.25
        talker.advance()
    talker.stop()
    assert screen.getvalue().splitlines() == [
        "20 of 100 pictures, 4/s, 0:20 left",
        "40 of 100 pictures, 4/s, 0:15 left",
        "60 of 100 pictures, 4/s, 0:10 left",
        "80 of 100 pictures, 4/s, 0:05 left",
    ]


def test_bytes_are_told_in_the_unit_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress of a download says MB below a billion bytes and GB from there on."""
    screen, now = Screen(terminal=False), [0.0]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    talker = output.ProgressReporter()
    talker.start(4_000_000_000, "bytes")
    for now[0] in (10.0, 20.0):
        talker.advance(500_000_000 if now[0] == 10 else 1_500_000_000)
    assert screen.getvalue().splitlines() == [
        "500 MB of 4.0 GB, 50.0 MB/s, 1:10 left",
        "2.0 GB of 4.0 GB, 100.0 MB/s, 0:20 left",
    ]


def test_a_count_without_an_end_is_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody knows how many there will be, the line says only how many there are."""
    screen, now = Screen(terminal=False), [0.0]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    talker = output.ProgressReporter()
    talker.start(0, "pictures found")
    now[0] = 6.0
    talker.advance(12_345)
    assert screen.getvalue() == "12,345 pictures found\n"
