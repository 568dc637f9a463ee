"""What terminals answer to the questions of a preview: recorded replies, and a pseudo-terminal that gives them.

"Recorded" means: with the program named, on Debian 12, by sending each question and keeping what came back. The others
are put together from what https://github.com/jquast/ucs-detect (data/*.yaml at 1c95e9c, November 2025) has recorded of
them: name and version (XTVERSION), attributes (DA1), the size of a cell; and from their sources where named. A question
that is missing is one that the terminal does not answer.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

NAME, KIND, ATTRIBUTES = b"\x1b[>q", b"\x1b[>c", b"\x1b[c"
KITTY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
CELL, AREA, CELL_ITERM2 = b"\x1b[16t", b"\x1b[14t", b"\x1b]1337;ReportCellSize\x1b\\"
_QUESTION = re.compile(b"|".join(map(re.escape, (NAME, KIND, ATTRIBUTES, KITTY, CELL, AREA, CELL_ITERM2))))
_KITTY_OK = b"\x1b_Gi=31;OK\x1b\\"


def _named(name: str) -> bytes:
    return f"\x1bP>|{name}\x1b\\".encode()


@dataclass(frozen=True)
class Recorded:
    """A terminal's replies, what it sets in the environment, its window in pixels, and what previews are drawn by."""

    replies: Mapping[bytes, bytes]
    expected: str
    environment: Mapping[str, str] = field(default_factory=lambda: {"TERM": "xterm-256color"})
    pixels: tuple[int, int] = (0, 0)
    cell: tuple[int, int] | None = None


_TRUE = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
TERMINALS: Mapping[str, Recorded] = {
    # Recorded. It says of OSC 1337 only in its log that it does not know it.
    "kitty 0.26.5": Recorded(
        {
            NAME: _named("kitty(0.26.5)"),
            KIND: b"\x1b[>1;4000;26c",
            ATTRIBUTES: b"\x1b[?62;c",
            KITTY: _KITTY_OK,
            CELL: b"\x1b[6;18;9t",
            AREA: b"\x1b[4;396;639t",
        },
        "kitty",
        {"TERM": "xterm-kitty", "COLORTERM": "truecolor"},
        (639, 396),
        (9, 18),
    ),
    # ucs-detect; that it speaks kitty's protocol: Ghostty's documentation.
    "Ghostty 1.2.3": Recorded(
        {
            NAME: _named("ghostty 1.2.3"),
            ATTRIBUTES: b"\x1b[?62;22;52c",
            KITTY: _KITTY_OK,
            CELL: b"\x1b[6;22;10t",
        },
        "kitty",
        {"TERM": "xterm-ghostty", "COLORTERM": "truecolor"},
        cell=(10, 22),
    ),
    # ucs-detect. It answers kitty's question too (its option enable_kitty_graphics).
    "WezTerm 20251025": Recorded(
        {
            NAME: _named("WezTerm 20251025-070338-b6e75fd7"),
            ATTRIBUTES: b"\x1b[?65;4;6;18;22;52c",
            KITTY: _KITTY_OK,
            CELL: b"\x1b[6;22;10t",
        },
        "iterm2",
        _TRUE,
        cell=(10, 22),
    ),
    # ucs-detect; ReportCellSize as iTerm2's documentation has it, here with two pixels to a point.
    "iTerm2 3.6.5": Recorded(
        {
            NAME: _named("iTerm2 3.6.5"),
            ATTRIBUTES: b"\x1b[?64;1;2;4;6;17;18;21;22c",
            CELL_ITERM2: b"\x1b]1337;ReportCellSize=16.0;7.0;2.0\x1b\\",
        },
        "iterm2",
        {"TERM": "xterm-256color", "COLORTERM": "truecolor", "TERM_PROGRAM": "iTerm.app"},
        cell=(14, 32),
    ),
    # ucs-detect; kitty's protocol and iTerm2's: since 22.04.
    "Konsole 25.08.2": Recorded(
        {
            NAME: _named("Konsole 25.08.2"),
            ATTRIBUTES: b"\x1b[?62;1;4c",
            KITTY: _KITTY_OK,
            CELL: b"\x1b[6;19;10t",
        },
        "iterm2",
        _TRUE,
        cell=(10, 19),
    ),
    # ucs-detect: images are switched off, as was the default.
    "VS Code 1.105.1": Recorded(
        {ATTRIBUTES: b"\x1b[?1;2c", CELL: b"\x1b[6;21;8t"},
        "blocks",
        {**_TRUE, "TERM_PROGRAM": "vscode"},
        cell=(8, 21),
    ),
    # xterm.js, addons/addon-image/src/ImageAddon.ts: the reply to DA1 while its images are switched on.
    "VS Code with images": Recorded(
        {ATTRIBUTES: b"\x1b[?62;4;9;22c", CELL: b"\x1b[6;21;8t"},
        "iterm2",
        {**_TRUE, "TERM_PROGRAM": "vscode"},
        cell=(8, 21),
    ),
    "VS Code with images, by ssh": Recorded(
        {ATTRIBUTES: b"\x1b[?62;4;9;22c", CELL: b"\x1b[6;21;8t"}, "sixel", cell=(8, 21)
    ),
    # ucs-detect.
    "foot 1.25.0": Recorded(
        {NAME: _named("foot(1.25.0)"), ATTRIBUTES: b"\x1b[?62;4;22;28;52c", CELL: b"\x1b[6;33;16t"},
        "sixel",
        {"TERM": "foot", "COLORTERM": "truecolor"},
        cell=(16, 33),
    ),
    # Recorded.
    "xterm 379": Recorded(
        {
            NAME: _named("XTerm(379)"),
            KIND: b"\x1b[>41;379;0c",
            ATTRIBUTES: b"\x1b[?64;1;2;6;9;15;16;17;18;21;22;28c",
        },
        "blocks",
        {"TERM": "xterm"},
        (480, 312),
        (6, 13),
    ),
    # Recorded: xterm -ti vt340.
    "xterm 379 as a VT340": Recorded(
        {
            NAME: _named("XTerm(379)"),
            KIND: b"\x1b[>19;379;0c",
            ATTRIBUTES: b"\x1b[?63;1;2;4;6;9;15;16;22;28c",
        },
        "sixel",
        {"TERM": "xterm"},
        (480, 312),
        (6, 13),
    ),
    # Recorded.
    "mlterm 3.9.2": Recorded(
        {
            KIND: b"\x1b[>24;279;0c",
            ATTRIBUTES: b"\x1b[?63;1;2;3;4;6;7;15;18;22;29c",
            CELL: b"\x1b[6;19;10t",
            AREA: b"\x1b[4;456;800t",
        },
        "sixel",
        {"TERM": "mlterm"},
        (800, 456),
        (10, 19),
    ),
    # ucs-detect.
    "GNOME Terminal 3.52": Recorded(
        {NAME: _named("VTE(7600)"), ATTRIBUTES: b"\x1b[?61;1;21;22c", AREA: b"\x1b[4;504;720t"},
        "blocks",
        _TRUE,
        cell=(9, 21),
    ),
    # ucs-detect; it has 256 colours.
    "Apple Terminal 2.15": Recorded(
        {KIND: b"\x1b[>1;95;0c", ATTRIBUTES: b"\x1b[?1;2c", AREA: b"\x1b[4;336;560t"},
        "blocks",
        {"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"},
        cell=(7, 14),
    ),
    # ucs-detect.
    "Windows Terminal 1.23": Recorded(
        {ATTRIBUTES: b"\x1b[?61;4;6;7;14;21;22;23;24;28;32;42;52c", CELL: b"\x1b[6;20;10t"},
        "sixel",
        cell=(10, 20),
    ),
    # Recorded. The variable TMUX is not set: it runs on another machine.
    "tmux 3.3a elsewhere": Recorded(
        {NAME: _named("tmux 3.3a"), KIND: b"\x1b[>84;0;0c", ATTRIBUTES: b"\x1b[?1;2c"},
        "blocks",
        {"TERM": "tmux-256color"},
    ),
    # ucs-detect: built with sixel.
    "tmux 3.4 elsewhere": Recorded(
        {NAME: _named("tmux 3.4"), ATTRIBUTES: b"\x1b[?1;2;4c", CELL: b"\x1b[6;20;9t"},
        "sixel",
        {"TERM": "tmux-256color"},
        cell=(9, 20),
    ),
    # Recorded.
    "screen 4.9.0": Recorded(
        {KIND: b"\x1b[>83;40900;0c", ATTRIBUTES: b"\x1b[?1;2c"}, "blocks", {"TERM": "screen-256color"}
    ),
    "one that answers nothing": Recorded({}, "blocks", {"TERM": "xterm-256color"}),
}


@dataclass(frozen=True)
class Ran:
    """What a program left behind on a terminal: exit code, what it wrote, and what a shell would meet then.

    ``asked`` are the questions, ``unread`` is how many bytes of replies are left for the shell, and ``restored``
    whether the terminal's mode is as it was before.
    """

    code: int
    output: bytes
    asked: tuple[bytes, ...]
    unread: int
    restored: bool


def run_on_terminal(
    argv: Sequence[str],
    terminal: Recorded,
    *,
    window: tuple[int, int] = (80, 24),
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    interrupt_when: bytes | None = None,
    until: bytes | None = None,
    watch: Callable[[bytes], None] | None = None,
    late: bytes | None = None,
    seconds: float = 120,
) -> Ran:
    """Run a program on a pseudo-terminal that answers as a recorded one; ``window`` is its columns and lines.

    It runs in ``folder``, if one is given.

    ``interrupt_when`` is what it writes when Ctrl-C is pressed, once; ``until`` what it writes before it is killed, and
    ``late`` what it writes before any reply comes. ``watch`` gets what it writes as it comes.
    """
    ours, theirs = os.openpty()
    columns, lines = window
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, *terminal.pixels))
    before = termios.tcgetattr(theirs)
    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_TERMINAL}
    process = subprocess.Popen(
        argv,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**kept, **terminal.environment, **(environment or {})},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    written, asked, held, end = b"", [], b"", time.monotonic() + seconds
    pending, shown = b"", 0
    while time.monotonic() < end:
        ready, _, _ = select.select([ours], [], [], 0.05)
        if not ready:
            if process.poll() is not None:
                break
            continue
        data = os.read(ours, 65536)
        if not data:
            break
        pending += data
        at = 0
        for found in _QUESTION.finditer(pending):
            written += pending[at : found.start()]
            at = found.end()
            asked.append(found[0])
            held += terminal.replies.get(found[0], b"")
        # A question may still be under way.
        tail = max(pending.rfind(b"\x1b"), at)
        if len(pending) - tail > 64 or b"\x1b" not in pending[at:]:
            tail = len(pending)
        written += pending[at:tail]
        if watch is not None and len(written) > shown:
            watch(written[shown:])
            shown = len(written)
        pending = pending[tail:]
        if held and (late is None or late in written + pending):
            os.write(ours, held)
            held = b""
        if until is not None and until in written + pending:
            # What follows at once is still taken.
            until, end = None, time.monotonic() + 1
        if interrupt_when is not None and interrupt_when in b"".join(asked) + written:
            os.write(ours, b"\x03")
            interrupt_when = None
    written += pending
    if watch is not None and pending:
        watch(pending)
    if process.poll() is None:
        process.kill()
    code = process.wait()
    mode = termios.tcgetattr(theirs)
    raw = termios.tcgetattr(theirs)
    raw[3] &= ~termios.ICANON
    termios.tcsetattr(theirs, termios.TCSANOW, raw)
    unread = struct.unpack("i", fcntl.ioctl(theirs, termios.FIONREAD, bytes(4)))[0]
    os.close(theirs)
    os.close(ours)
    return Ran(code, written, tuple(asked), unread, mode == before)


_OF_A_TERMINAL = {"TERM", "COLORTERM", "TERM_PROGRAM", "TMUX", "STY", "NO_COLOR", "COLUMNS", "LINES"}
