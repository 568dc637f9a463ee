"""Asks the terminal what it is and what it can draw, and reads its replies within a time limit.

Questions are control sequences on stdout, replies come as if they were typed. Meanwhile the terminal neither echoes nor
waits for whole lines; Ctrl-C still interrupts, and however this ends, the terminal is put back as it was. The last
question is always DA1, which every terminal answers, and in order: once that reply is here, no other will come, so
nothing is left over for the shell to read. What somebody types in these milliseconds is lost.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imgsearch.cli.terminal.preview.replies import Terminal, read_replies

WAIT_SECONDS = 2.0
"""How long a reply may take: a slow line to a distant machine needs half a second."""
_LATE_SECONDS = 0.5

_NAME = b"\x1b[>q"  # XTVERSION
_KIND = b"\x1b[>c"  # DA2
_ATTRIBUTES = b"\x1b[c"  # DA1
_KITTY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_CELL_ITERM2 = b"\x1b]1337;ReportCellSize\x1b\\"
_CELL = b"\x1b[16t"
_AREA = b"\x1b[14t"
_CLEAN = b"\r\x1b[K"  # a terminal that does not know a question may show its text
_LAST_REPLY = re.compile(rb"\x1b\[\?[\d;]*c")


def can_ask() -> bool:
    """Return whether there is a terminal to ask: at both ends, not a dumb one, and not while in the background."""
    try:
        ours = os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
    return ours and sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def ask_terminal(seconds: float = WAIT_SECONDS) -> Terminal:
    """Return what the terminal tells of itself; one that does not answer within ``seconds`` tells nothing.

    It must be one that can be asked: ``can_ask``.
    """
    sys.stdout.flush()
    with _listening(0):
        replies = _asked(_NAME + _KIND, seconds)
        terminal = read_replies(replies)
        # GNU screen would show the question about kitty's graphics in its status line.
        if terminal.answers and not terminal.is_screen:
            questions = _CELL_ITERM2 + _CELL + _AREA
            replies += _asked(questions if terminal.is_tmux else _KITTY + questions, seconds)
        if not terminal.answers:
            atexit.register(_discard_late)
        return read_replies(replies, _window())


def _discard_late() -> None:
    """Throw away what has come since: replies of a terminal that took too long are no words for the shell."""
    with suppress(termios.error):
        termios.tcflush(0, termios.TCIFLUSH)


def _asked(questions: bytes, seconds: float) -> bytes:
    """Return the replies to ``questions`` up to that to DA1, which is asked last."""
    os.write(1, questions + _ATTRIBUTES + _CLEAN)
    replies = b""
    try:
        return replies + _read_until_last(seconds)
    except BaseException:  # Ctrl-C: what is under way must not reach the shell
        _read_until_last(_LATE_SECONDS)
        raise


def _read_until_last(seconds: float) -> bytes:
    replies, end = b"", time.monotonic() + seconds
    while not _LAST_REPLY.search(replies):
        ready, _, _ = select.select([0], [], [], max(0.0, end - time.monotonic()))
        data = os.read(0, 4096) if ready else b""
        if not data:
            break
        replies += data
    return replies


@contextmanager
def _listening(descriptor: int) -> Iterator[None]:
    """Have what comes from the terminal at once and unseen, and put its mode back."""
    before = termios.tcgetattr(descriptor)
    mode = termios.tcgetattr(descriptor)
    mode[3] &= ~(termios.ECHO | termios.ICANON)  # signals stay
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, 0
    try:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _window() -> tuple[int, int, int, int]:
    """Return the window's columns and lines, and its width and height in pixels, 0 where the system is not told."""
    lines, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))
    return columns, lines, width, height
