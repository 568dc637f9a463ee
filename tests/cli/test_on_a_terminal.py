"""The commands that show images, as somebody at a terminal sees them, and what their numbers mean afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from imgsearch.cli import output
from support import fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a memory of the test's own, and a window of 100 columns."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "state" / "imgsearch" / "last-answer.json"


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an index of three images and a copy, in the current folder's photos/."""
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    shutil.copy(tmp_path / "photos" / "blue.png", tmp_path / "photos" / "copy.png")
    for number, name in enumerate(("red", "green", "blue", "copy")):
        os.utime(tmp_path / "photos" / f"{name}.png", (86_400 * number,) * 2)
    run(tmp_path / "ix", tmp_path / "photos")
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "ix"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ix"


def seen(*argv: object, stdin: str | None = None) -> Done:
    """Run a command as for a person, and return what is left without colours."""
    done = imgsearch(*argv, "--color", "always", stdin=stdin)
    return Done(done.code, ESCAPES.sub("", done.out.decode()).encode(), done.err)


def test_hits_have_numbers_bars_dates_and_sizes(index: Path) -> None:
    """A query's answer as somebody sees it, to the character."""
    assert seen("query", "red").lines == [
        "1  ████████  1.000  photos/red.png              1970-01-01  64×48",
        "2           -0.326  photos/green.png            1970-01-02  64×48",
        "3           -0.398  photos/blue.png  (+1 copy)  1970-01-04  64×48",
    ]


def test_a_list_is_numbered_and_remembered(index: Path, tmp_path: Path, state: Path) -> None:
    """After `list`, a number names the image that it showed; there is no query to refine."""
    assert seen("list").lines == [
        "1  photos/blue.png   1970-01-04  64×48",
        "2  photos/copy.png   1970-01-04  64×48",
        "3  photos/green.png  1970-01-02  64×48",
        "4  photos/red.png    1970-01-01  64×48",
    ]
    assert imgsearch("show", "4").lines[0] == str(tmp_path / "photos" / "red.png")
    assert imgsearch("similar", "3", "--json").objects[0]["path"] == str(tmp_path / "photos" / "green.png")
    seen("list", "--sort", "oldest", "-n", "1")
    assert imgsearch("show", "1").lines[0] == str(tmp_path / "photos" / "red.png")
    refused = imgsearch("query", "--more", "1")
    assert refused.code == 2
    assert "the last numbers are not those of one query" in refused.err


def test_a_list_in_a_pipe_is_what_it_was_and_not_remembered(index: Path, tmp_path: Path, state: Path) -> None:
    """A pipe gets bare paths, also with what forces colours for all programs; nothing is remembered of it."""
    names = ("blue", "copy", "green", "red")
    expected = "".join(f"{tmp_path}/photos/{name}.png\n" for name in names).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORCE_COLOR", "1")
        patch.setenv("CLICOLOR_FORCE", "1")
        assert imgsearch("list").out == expected
    assert imgsearch("list", "--paths", "--color", "always").out == expected
    assert not state.exists()


def test_a_file_that_is_gone_is_told_in_a_list(index: Path, tmp_path: Path) -> None:
    """What is listed and not there now is marked."""
    (tmp_path / "photos" / "green.png").unlink()
    assert seen("list").lines[2].startswith("3  photos/green.png  (missing now)  ")


def test_duplicates_are_numbered_through_their_groups(index: Path, tmp_path: Path) -> None:
    """Each file of each group has a number of its own, which `show` takes afterwards."""
    paint(tmp_path / "photos" / "pink.png", "pink")
    shutil.copy(tmp_path / "photos" / "pink.png", tmp_path / "photos" / "rose.png")
    run(index, tmp_path / "photos")
    done = seen("duplicates")
    assert done.code == 0
    assert done.lines == [
        "1  keep  photos/blue.png  oldest file  64×48  0.0 MB",
        "2        photos/copy.png  same bytes   64×48  0.0 MB",
        "",
        "3  keep  photos/pink.png  oldest file  64×48  0.0 MB",
        "4        photos/rose.png  same bytes   64×48  0.0 MB",
    ]
    for number, name in enumerate(("blue", "copy", "pink", "rose"), 1):
        assert imgsearch("show", number).lines[0] == f"{tmp_path}/photos/{name}.png"


def test_numbers_go_on_through_queries_on_stdin(index: Path, tmp_path: Path) -> None:
    """Each query has a heading, and each hit a number that no other has; afterwards it names that image."""
    done = seen("query", "-", "-n", "2", stdin="red\nblue\n")
    assert [line.split()[0] for line in done.lines] == ["#", "1", "2", "#", "3", "4"]
    assert [done.lines[0], done.lines[3]] == ["# red", "# blue"]
    assert imgsearch("show", "1").lines[0] == f"{tmp_path}/photos/red.png"
    assert imgsearch("show", "3").lines[0] == f"{tmp_path}/photos/blue.png"


def test_several_indexes_have_bars_where_scores_can_be_compared(index: Path, tmp_path: Path) -> None:
    """Hits of two indexes of one model have bars and numbers as those of one."""
    paint(tmp_path / "more" / "orange.png", "orange")
    run(tmp_path / "other", tmp_path / "more")
    lines = seen("query", "red", "--index", index, "--index", tmp_path / "other").lines
    assert "█" in lines[0]
    assert lines[0].split()[0] == "1"
    assert lines[0].split()[3] == "photos/red.png"


def test_never_leaves_no_escapes(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal `--color never` keeps rows and numbers, without colours and links."""
    monkeypatch.setattr(output, "for_person", lambda style: style == "text")
    monkeypatch.setenv("TERM", "xterm-kitty")
    done = imgsearch("query", "red", "--color", "never")
    assert b"\x1b" not in done.out
    assert done.lines[0].startswith("1  ████████  1.000  photos/red.png")


def test_color_can_be_set_for_all_commands(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The config file sets it, by command or for all; a value that it does not have is refused in one line."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert imgsearch("config", "all.color", "always").code == 0
    assert b"\x1b[" in imgsearch("list").out
    assert b"\x1b[" not in imgsearch("list", "--color", "auto").out
    assert imgsearch("config", "list.color", "never").code == 0
    assert b"\x1b[" not in imgsearch("list").out
    assert 'query.color = "always"  (file)' in imgsearch("config", "query").lines
    refused = imgsearch("list", "--color", "blue")
    assert refused.code == 2
    assert refused.err == "imgsearch: --color blue: choose one of auto, always, never\n"


@pytest.mark.slow("starts the program at the end of a pseudo-terminal")
def test_a_real_terminal_gets_links_and_a_pipe_does_not(index: Path, tmp_path: Path) -> None:
    """At a terminal of 60 columns that has links, `list` is linked rows; with TERM=dumb plain ones; in a pipe paths."""
    kitty, dumb = at_a_terminal("xterm-kitty"), at_a_terminal("dumb")
    assert kitty.count("\x1b]8;;file://") == 4
    assert f"{tmp_path}/photos/blue.png\x1b\\" in kitty
    assert "\x1b" not in dumb
    assert dumb.split("\r\n")[0] == "1  photos/blue.png   1970-01-04  64×48"
    piped = subprocess.run([sys.executable, "-m", "imgsearch", "list"], stdout=subprocess.PIPE, check=True)
    assert piped.stdout.splitlines()[0] == f"{tmp_path}/photos/blue.png".encode()


def at_a_terminal(term: str) -> str:
    """Return what `list` writes to a terminal of 60 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TMUX")}
    command = [sys.executable, "-m", "imgsearch", "list"]
    with subprocess.Popen(command, stdout=theirs, env={**env, "TERM": term}):
        os.close(theirs)
        written = b""
        while True:
            try:
                some = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                some = b""
            if not some:
                break
            written += some
    os.close(ours)
    return written.decode()
