"""A notification on the user's desktop, by the program that the system has for it: notify-send, or osascript."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from imgsearch.text import error_line, printable

_TITLE = "imgsearch"
_SECONDS = 5.0
_ON_MACOS = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "end run",
)
"""AppleScript that shows its arguments: nothing of them is read as a program."""


def notify(text: str) -> str:
    """Show a line on the desktop; return why that failed, "" if it did not. It takes some seconds at most."""
    macos = sys.platform == "darwin"
    name = "osascript" if macos else "notify-send"
    program = shutil.which(name)
    if program is None:
        return f"{name} is not installed" + (
            "" if macos else " (Debian and Ubuntu: apt install libnotify-bin)"
        )
    text = printable(text)
    if macos:
        command = [program, *(part for line in _ON_MACOS for part in ("-e", line)), _TITLE, text]
    else:
        # The text may have markup where it is shown.
        command = [program, "-a", _TITLE, "--", _TITLE, re.sub("[<>&]", " ", text)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"{name} does not answer"
    except OSError as error:
        return f"{name}: {error_line(error)}"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return f"{name} failed" + (f": {printable(last)[:200]}" if last else "")
    return ""
