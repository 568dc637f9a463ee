"""Which protocol a preview is drawn by: found from the replies of terminals, as recorded, on a pseudo-terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.cli.terminal.preview.choice import AUTO, PROTOCOLS, choose
from imgsearch.cli.terminal.preview.replies import Terminal, read_replies
from imgsearch.cli.terminal.preview.tmux import Outer, read_outer
from support.terminal_replies import ATTRIBUTES, KITTY, NAME, TERMINALS, run_on_terminal

_ASK = """
import json, sys
from imgsearch.cli.terminal.preview import asking
if not asking.can_ask():
    raise SystemExit(3)
found = asking.ask_terminal({seconds})
told = [found.name, found.cell, found.kitty, found.iterm2, found.sixel, found.kind, found.answers]
json.dump(told, open(sys.argv[1], "w"))
"""


def ask(seconds: float = 30.0) -> str:
    """Return the program that asks and writes down what it has found."""
    return _ASK.format(seconds=seconds)


@pytest.mark.parametrize("name", TERMINALS)
def test_a_terminal_is_known_by_its_replies(name: str, tmp_path: Path) -> None:
    """Each recorded terminal gets the protocol that it speaks, and nothing of its replies is left over or shown."""
    terminal = TERMINALS[name]
    found = tmp_path / "found.json"
    silent = not terminal.replies
    ran = run_on_terminal([sys.executable, "-c", ask(0.2 if silent else 30), str(found)], terminal)
    assert (ran.code, ran.unread, ran.restored) == (0, 0, True)
    assert ran.output.strip(b"\r\x1b[K") == b""
    told, cell, kitty, iterm2, sixel, kind, answers = json.loads(found.read_text())
    size = tuple(cell) if cell else None
    assert size == terminal.cell
    about = Terminal(told, kind, answers, kitty, iterm2, sixel, size)
    assert choose(AUTO, about, terminal.environment, None).protocol == terminal.expected


@pytest.mark.parametrize("name", ["screen 4.9.0", "tmux 3.3a elsewhere", "one that answers nothing"])
def test_who_would_show_the_question_is_not_asked_it(name: str, tmp_path: Path) -> None:
    """GNU screen, tmux, and what does not answer at all get no question about kitty's graphics."""
    silent = not TERMINALS[name].replies
    ran = run_on_terminal(
        [sys.executable, "-c", ask(0.2 if silent else 30), str(tmp_path / "found.json")], TERMINALS[name]
    )
    assert KITTY not in ran.asked
    assert {NAME, ATTRIBUTES} <= set(ran.asked)


@pytest.mark.parametrize("question", [NAME, KITTY])
def test_ctrl_c_while_asking_puts_the_terminal_back(question: bytes, tmp_path: Path) -> None:
    """Ctrl-C while replies are awaited ends the program, with the terminal's mode as before and no reply left over."""
    terminal = TERMINALS["kitty 0.26.5"]
    mute = {
        asked: reply for asked, reply in terminal.replies.items() if question != NAME or asked != ATTRIBUTES
    }
    if question == KITTY:
        # The second round never ends.
        program = ask().replace(
            "found = asking", "asking._LAST_REPLY = Never(asking._LAST_REPLY); found = asking"
        )
        program = _NEVER + program
    else:
        program = ask()
    ran = run_on_terminal(
        [sys.executable, "-c", program, str(tmp_path / "found.json")],
        type(terminal)(mute, "kitty", terminal.environment),
        interrupt_when=question,
    )
    assert ran.code != 0
    assert b"KeyboardInterrupt" in ran.output
    assert (ran.unread, ran.restored) == (0, True)


_NEVER = """
class Never:
    def __init__(self, pattern): self.pattern, self.times = pattern, 0
    def search(self, replies):
        found = b"OK" not in replies and self.pattern.search(replies)
        return found
"""


_WAIT = """
import select, termios, tty
mode = termios.tcgetattr(0)
tty.setcbreak(0, termios.TCSANOW)  # else what is no whole line can't be waited for
print("waited", flush=True)
select.select([0], [], [], 60)
termios.tcsetattr(0, termios.TCSANOW, mode)
"""


def test_replies_that_come_too_late_are_thrown_away(tmp_path: Path) -> None:
    """A terminal that answers after the time limit counts as silent, and leaves no reply for the shell either."""
    program = ask(0.1) + _WAIT
    found = tmp_path / "found.json"
    ran = run_on_terminal(
        [sys.executable, "-c", program, str(found)], TERMINALS["kitty 0.26.5"], late=b"waited"
    )
    assert (ran.code, ran.unread, ran.restored) == (0, 0, True)
    assert json.loads(found.read_text())[-1] is False


def test_a_part_of_the_replies_tells_only_a_part() -> None:
    """A reply that is cut off tells nothing; the rest makes it whole."""
    terminal = TERMINALS["mlterm 3.9.2"]
    whole = b"".join(terminal.replies.values())
    assert read_replies(whole[:20]).sixel is False
    assert read_replies(whole).sixel is True


def test_nothing_is_asked_without_a_terminal(tmp_path: Path) -> None:
    """With a file or a pipe for stdin or stdout there is nobody to ask."""
    for stdin, stdout in ((subprocess.DEVNULL, subprocess.PIPE), (subprocess.PIPE, subprocess.DEVNULL)):
        done = subprocess.run(
            [sys.executable, "-c", ask(), str(tmp_path / "found.json")],
            stdin=stdin,
            stdout=stdout,
            check=False,
            env={**os.environ, "TERM": "xterm-kitty"},
        )
        assert done.returncode == 3
        assert not done.stdout


def test_a_dumb_terminal_is_not_asked(tmp_path: Path) -> None:
    """A terminal that says it is dumb gets no control sequences."""
    dumb = type(TERMINALS["xterm 379"])({}, "blocks", {"TERM": "dumb"})
    ran = run_on_terminal([sys.executable, "-c", ask(), str(tmp_path / "found.json")], dumb)
    assert (ran.code, ran.output, ran.asked) == (3, b"", ())


def test_typed_keys_are_no_replies() -> None:
    """What a person types between the replies is passed over."""
    whole = b"ls\x1b[A" + b"q".join(TERMINALS["kitty 0.26.5"].replies.values()) + b"\n"
    assert read_replies(whole).kitty is True


@given(st.binary(max_size=200))
def test_no_reply_is_an_error(replies: bytes) -> None:
    """Whatever a terminal answers is read, and a cell has a size that a cell can have."""
    found = read_replies(replies, (80, 24, 800, 480))
    assert found.cell is None or all(1 <= side <= 400 for side in found.cell)


@given(
    st.lists(
        st.sampled_from([reply for terminal in TERMINALS.values() for reply in terminal.replies.values()]),
        max_size=12,
    ),
    st.sampled_from(["", "xterm-256color", "dumb", "linux"]),
)
def test_there_is_always_a_choice(replies: list[bytes], term: str) -> None:
    """Any mixture of replies leads to a protocol, or to half blocks or nothing and a reason."""
    found = choose(AUTO, read_replies(b"".join(replies)), {"TERM": term}, None)
    assert found.protocol in PROTOCOLS or (found.protocol is None and found.why)


KITTY_IN_TMUX = Terminal("tmux 3.4", "84", answers=True, cell=(9, 18))
SIXEL_IN_TMUX = Terminal("tmux 3.4", "84", answers=True, sixel=True)


@pytest.mark.parametrize(
    ("terminal", "outer", "protocol", "why"),
    [
        (KITTY_IN_TMUX, Outer("kitty(0.35.2)", ("RGB",), passthrough=True), "kitty", ""),
        (KITTY_IN_TMUX, Outer("ghostty 1.2.3", (), passthrough=True), "kitty", ""),
        (
            KITTY_IN_TMUX,
            Outer("kitty(0.35.2)", (), passthrough=False),
            "blocks",
            "set -g allow-passthrough on",
        ),
        (KITTY_IN_TMUX, Outer("kitty(0.26.5)", (), passthrough=True), "blocks", "only to kitty 0.28"),
        (KITTY_IN_TMUX, Outer("WezTerm 2025", (), passthrough=True), "blocks", "built with sixel"),
        (SIXEL_IN_TMUX, Outer("foot(1.25.0)", ("256", "sixel"), passthrough=False), "sixel", ""),
        (SIXEL_IN_TMUX, Outer("XTerm(379)", ("256",), passthrough=False), "blocks", ""),
        (SIXEL_IN_TMUX, Outer("foot(1.25.0)", ("256",), passthrough=False), "blocks", "terminal-features"),
        (KITTY_IN_TMUX, Outer("VTE(7600)", (), passthrough=True), "blocks", ""),
        (KITTY_IN_TMUX, None, "blocks", "--preview=kitty"),
    ],
)
def test_in_tmux_the_terminal_around_it_decides(
    terminal: Terminal, outer: Outer | None, protocol: str, why: str
) -> None:
    """In tmux: sixels where both draw them, kitty's placeholders where they may pass, else blocks and the reason."""
    found = choose(AUTO, terminal, {"TMUX": "/tmp/tmux-0/default,1,0", "TERM": "tmux-256color"}, outer)
    assert found.protocol == protocol
    assert found.in_tmux
    assert why in found.why
    assert bool(found.why) == bool(why)


def test_what_tmux_tells_is_read() -> None:
    """The formats of tmux 3.3, with 0 and 1, and of newer ones, with words, mean the same."""
    assert read_outer("kitty(0.26.5)\tbpaste,title\t0\n") == Outer(
        "kitty(0.26.5)", ("bpaste", "title"), passthrough=False
    )
    assert read_outer("XTerm(379)\t256,sixel\ton\n") == Outer(
        "XTerm(379)", ("256", "sixel"), passthrough=True
    )
    assert read_outer("\t\toff\n") == Outer("", ("",), passthrough=False)
    assert read_outer("no server running") is None


@pytest.mark.parametrize("asked", PROTOCOLS)
def test_what_was_asked_for_is_taken(asked: str) -> None:
    """A protocol that was named is used whatever the terminal says, also where nothing could be asked."""
    assert choose(asked, None, {}, None).protocol == asked
    assert choose(asked, TERMINALS_READ["xterm 379"], {}, None).protocol == asked


TERMINALS_READ = {name: read_replies(b"".join(one.replies.values())) for name, one in TERMINALS.items()}


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({"COLORTERM": "truecolor", "TERM": "xterm"}, 1 << 24),
        ({"COLORTERM": "24bit"}, 1 << 24),
        ({"TERM": "xterm-direct"}, 1 << 24),
        ({"TERM": "xterm-256color"}, 256),
        ({"COLORTERM": "1", "TERM": "xterm-256color"}, 256),
    ],
)
def test_half_blocks_have_the_colours_that_there_are(environment: dict[str, str], colours: int) -> None:
    """24-bit colour needs COLORTERM or a direct TERM; without, 256 colours are used."""
    found = choose(AUTO, TERMINALS_READ["Apple Terminal 2.15"], environment, None)
    assert (found.protocol, found.colours) == ("blocks", colours)


def test_without_colours_there_is_no_preview_but_a_reason() -> None:
    """A terminal of which nothing says that it has 256 colours gets no half blocks, and is told what does."""
    found = choose(AUTO, Terminal(answers=True), {"TERM": "vt220"}, None)
    assert found.protocol is None
    assert "COLORTERM" in found.why


def test_who_could_not_be_asked_is_told_so() -> None:
    """Where queries come from a pipe, half blocks are drawn, and the reason is given."""
    found = choose(AUTO, None, {"TERM": "xterm-kitty", "COLORTERM": "truecolor"}, None)
    assert found.protocol == "blocks"
    assert "only where input comes from it" in found.why


def test_sixels_without_their_library_are_half_blocks() -> None:
    """Where the terminal draws sixels and the extra is not installed, the reason says so."""
    found = choose(AUTO, TERMINALS_READ["foot 1.25.0"], {}, None, no_sixel="sixels need the extra")
    assert (found.protocol, found.why) == ("blocks", "preview in half blocks: sixels need the extra")
