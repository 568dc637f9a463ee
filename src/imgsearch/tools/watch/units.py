"""Files with which the system starts a watch when its user logs in: a unit of systemd, a property list of launchd."""

from __future__ import annotations

import os
import plistlib
from collections.abc import Mapping, Sequence
from typing import Literal

from imgsearch.errors import UsageError
from imgsearch.text import display_path
from imgsearch.types import is_utf8

UnitKind = Literal["systemd", "launchd"]
PLACES: Mapping[UnitKind, str] = {
    "systemd": "~/.config/systemd/user/imgsearch-watch.service",
    "launchd": "~/Library/LaunchAgents/imgsearch-watch.plist",
}
"""Where such a file is to be saved."""
STARTS: Mapping[UnitKind, str] = {
    "systemd": "systemctl --user enable --now imgsearch-watch",
    "launchd": f"launchctl bootstrap gui/$(id -u) {PLACES['launchd']}",
}
"""The command that starts the watch then, and from now on at each login."""
_SETTINGS = (
    "IMGSEARCH_MODEL_DIR",
    "IMGSEARCH_RUNTIME_DIR",
    "IMGSEARCH_SERVER",
    "HF_HOME",
    "HF_HUB_CACHE",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)
_NEEDS_A_PERSON = 2  # the exit code of errors: to start again does not help


def unit(kind: UnitKind, argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the file that has the system run ``argv``, a program by its absolute path with its arguments.

    Of the ``environment`` it keeps where the model, caches and the server are. Raises UsageError for what isn't UTF-8.
    """
    settings = {name: environment[name] for name in _SETTINGS if environment.get(name)}
    for text in (*argv, *settings.values()):
        if not is_utf8(text):
            raise UsageError(f"{display_path(text)} is not valid UTF-8, which a {kind} file requires")
    if kind == "launchd":
        return _launchd(argv, settings)
    return _systemd(argv, settings)


def _systemd(argv: Sequence[str], settings: Mapping[str, str]) -> str:
    lines = [
        "[Unit]",
        "Description=Keep the index of imgsearch up to date",
        "",
        "[Service]",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in settings.items()),
        # Only in a command line does systemd replace variables.
        f"ExecStart={' '.join(_quoted(word).replace('$', '$$') for word in argv)}",
        "Restart=on-failure",
        "RestartSec=60",
        f"RestartPreventExitStatus={_NEEDS_A_PERSON}",
        "Nice=10",
        "IOSchedulingClass=idle",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """Return a word as systemd reads it, with nothing in it that it would expand."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return (
        '"'
        + "".join(char if char >= " " and char != "\x7f" else f"\\x{ord(char):02x}" for char in escaped)
        + '"'
    )


def _launchd(argv: Sequence[str], settings: Mapping[str, str]) -> str:
    log = os.path.expanduser("~/Library/Logs/imgsearch-watch.log")
    properties = {
        "Label": "imgsearch-watch",
        "ProgramArguments": list(argv),
        **({"EnvironmentVariables": dict(settings)} if settings else {}),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 60,
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "StandardErrorPath": log,
    }
    try:
        return plistlib.dumps(properties, sort_keys=False).decode()
    except ValueError as error:  # XML has no control characters
        raise UsageError(f"{' '.join(map(display_path, argv))}: {error}") from error
