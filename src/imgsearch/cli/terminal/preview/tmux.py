"""The terminal that tmux runs in, by what tmux itself tells of it: tmux passes on no replies."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

_SECONDS = 2.0
_ASKED = ("client_termtype", "client_termfeatures", "allow-passthrough")
_KITTY = re.compile(r"kitty\((\d+)\.(\d+)")
_DRAW = ("kitty", "ghostty", "iterm2", "wezterm", "konsole", "foot", "mintty", "contour", "mlterm")
"""How the names of terminals begin that draw images where tmux lets them."""
_PLACEHOLDERS_SINCE = (0, 28)
"""The kitty that first draws images where there are certain characters, which tmux moves as it moves text."""


@dataclass(frozen=True, slots=True)
class Outer:
    """The terminal around tmux: its ``name``, what tmux draws in it, and whether programs can write to it directly."""

    name: str
    features: tuple[str, ...]
    passthrough: bool

    @property
    def has_placeholders(self) -> bool:
        """Return whether it draws kitty's images in place of characters."""
        version = _KITTY.match(self.name)
        if version is None:
            return self.name.startswith("ghostty")
        return (int(version[1]), int(version[2])) >= _PLACEHOLDERS_SINCE

    @property
    def draws_images(self) -> bool:
        """Return whether it is known to draw images by any protocol."""
        return self.name.lower().startswith(_DRAW)


def inside_tmux() -> bool:
    """Return whether this process runs in tmux on this machine."""
    return bool(os.environ.get("TMUX"))


def outer_terminal() -> Outer | None:
    """Return the terminal around tmux, None if tmux does not tell."""
    asked = "\t".join(f"#{{{name}}}" for name in _ASKED)
    try:
        done = subprocess.run(
            ["tmux", "display-message", "-p", asked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            text=True,
            errors="replace",
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return read_outer(done.stdout)


def read_outer(told: str) -> Outer | None:
    """Return what tmux told, None if it is not what was asked."""
    parts = told.rstrip("\n").split("\t")
    if len(parts) != len(_ASKED):
        return None
    name, features, passthrough = parts
    # Before 3.3 there is no such option, and it is always allowed.
    return Outer(name, tuple(features.split(",")), passthrough not in ("0", "off"))
