"""Hands images to the user's desktop: opened in its viewer, or shown in its file manager.

Each program gets absolute paths as arguments of its own: no shell reads them, and none begins with a dash. On Linux
several images reach the viewer in one call by way of its desktop entry, which GLib's `gio` reads: `xdg-open` takes one.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from urllib.parse import quote

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.errors import ImgsearchError
from imgsearch.text import display_path

MAX_OPENED = 20
"""So many images are opened or shown at a time: a viewer may make a window of each."""
_PATIENCE_SECONDS = 5.0
"""A program that has not failed by then has opened the image: it is the viewer itself, and runs on."""
_ANSWER_SECONDS = 10.0  # a file manager may have to start first
_FILE_MANAGER = "org.freedesktop.FileManager1"


class DesktopError(ImgsearchError):
    """The desktop could not open or show a file: it is gone, or there is no program for that, or it failed."""


_AT_PAGE = {
    **dict.fromkeys(("evince", "papers", "atril", "xreader"), ("--page-index={place}", "{file}")),
    **dict.fromkeys(("okular", "zathura"), ("--page={place}", "{file}")),
    "mupdf": ("{file}", "{place}"),
    "qpdfview": ("{file}#{place}",),
}
_AT_TIME = {
    "mpv": ("--start={place}", "{file}"),
    "vlc": ("--start-time={place}", "{file}"),
    "celluloid": ("--mpv-start={place}", "{file}"),
}
"""Viewers that open a document at a page, from 1, and a film at a time in seconds: by what their desktop entry's name
holds, the arguments. (As their manual pages have it; evince calls an index what counts from 1.)"""
_BROWSERS = ("firefox-esr", "firefox", "chromium", "google-chrome", "brave-browser", "microsoft-edge")
"""Browsers show PDFs at #page=7, and films at #t=83.2 (W3C: Media Fragments URI)."""
_TYPES = {".mts": "video/mp2t", ".m2ts": "video/mp2t", ".cbz": "application/vnd.comicbook+zip"}
"""Of files that have places and whose types Python doesn't know, at least not everywhere."""
_PAGED = {"application/pdf", "image/tiff", "application/vnd.comicbook+zip"}
_BY_BROWSERS = "application/pdf"


def open_files(paths: Sequence[str], pages: Sequence[int] = ()) -> None:
    """Open files in the viewers that the desktop has for them, at most ``MAX_OPENED``; each in one call if it can.

    A single file is opened at the first of ``pages``, as the index counts them, where its viewer can do that.
    Returns when the viewers have been started. Raises DesktopError.
    """
    paths = _checked(paths)
    if sys.platform == "darwin":
        _start([[_program("open"), *paths]], paths)
        return
    if len(paths) == 1 and pages and pages[0] and (command := _opened_at(paths[0], pages[0])):
        _start([command], paths)
        return
    viewers = _viewers(paths) if len(paths) > 1 else {}
    commands = [["gio", "launch", viewer, *files] for viewer, files in viewers.items()]
    by_viewer = {path for files in viewers.values() for path in files}
    alone = [path for path in paths if path not in by_viewer]
    commands += [[_program("xdg-open"), path] for path in alone]
    _start(commands, paths)


def _opened_at(path: str, page: int) -> list[str] | None:
    """Return the command that opens a document at a page, or a film at so many milliseconds; None if none is known."""
    extension = os.path.splitext(path)[1].lower()
    kind = _TYPES.get(extension) or mimetypes.guess_type(path)[0] or ""
    is_film = kind.startswith("video/")
    if not (is_film or kind in _PAGED):
        return None
    viewer = (_answer(["xdg-mime", "query", "default", kind]) or "").strip().lower()
    place = f"{page / 1000:.3f}" if is_film else str(page + 1)
    for name, arguments in (_AT_TIME if is_film else _AT_PAGE).items():
        if name in viewer and (program := shutil.which(name)):
            if "{file}#{place}" in arguments and "#" in path:
                return None
            return [program, *(argument.format(file=path, place=place) for argument in arguments)]
    for name in _BROWSERS if is_film or kind == _BY_BROWSERS else ():
        if name in viewer and (program := shutil.which(name)):
            what = "t" if is_film else "page"
            return [program, f"file://{quote(os.fsencode(path))}#{what}={place}"]
    return None


def reveal(*paths: str) -> None:
    """Show files, at most ``MAX_OPENED``, in the desktop's file manager: selected, or else the folders they are in.

    Raises DesktopError.
    """
    checked = _checked(paths)
    if sys.platform == "darwin":
        _start([[_program("open"), "-R", *checked]], checked)
        return
    # Quoted, an address holds neither the quotes nor the commas that separate them in a list.
    files = [f"file://{quote(os.fsencode(path))}" for path in checked]
    listed = ", ".join(f"'{file}'" for file in files)
    method, place = f"{_FILE_MANAGER}.ShowItems", f"/{_FILE_MANAGER.replace('.', '/')}"
    by_glib = f"gdbus call --session --dest {_FILE_MANAGER} --object-path {place} --method {method}".split()
    by_dbus = f"dbus-send --session --print-reply --dest={_FILE_MANAGER} {place} {method}".split()
    for command in (
        [*by_glib, f"[{listed}]", ""],
        [*by_dbus, f"array:string:{','.join(files)}", "string:"],
    ):
        if _answer(command) is not None:
            return
    folders = list(dict.fromkeys(map(os.path.dirname, checked)))
    _start([[_program("xdg-open"), folder] for folder in folders], folders)


def _checked(paths: Iterable[str]) -> list[str]:
    """Return the paths absolute and each once. Raises DesktopError for too many, and for one that is not there."""
    paths = list(paths)
    if remote := next(filter(is_remote, paths), None):
        raise DesktopError(f"{display_path(remote)} is in a bucket; viewers open files of this machine only")
    checked = list(dict.fromkeys(map(os.path.abspath, paths)))
    if len(checked) > MAX_OPENED:
        raise DesktopError(
            f"{len(checked):,} images would be opened; give at most {MAX_OPENED} at a time, as in 1-{MAX_OPENED}"
        )
    for path in checked:
        if not deep.exists(path):
            raise DesktopError(
                f"{display_path(path)} is not there now: deleted, or on a drive that is not mounted"
            )
    return checked


def _program(name: str) -> str:
    """Return where the program is that opens files. Raises DesktopError if it is missing."""
    found = shutil.which(name)
    if found is None:
        package = "macOS" if sys.platform == "darwin" else "the package xdg-utils"
        raise DesktopError(f"{name}, which opens files on your desktop, is missing; it belongs to {package}")
    return found


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _viewers(paths: Sequence[str]) -> dict[str, list[str]]:
    """Return the desktop entries of the default viewers, with the files that each is for; only those that are known."""
    found: dict[str, list[str]] = {}
    if not (_has_display() and shutil.which("gio")):
        return found
    entries: dict[str, str | None] = {}
    for path in paths:
        kind = mimetypes.guess_type(path)[0]
        if kind is None:
            continue
        if kind not in entries:
            entries[kind] = _entry((_answer(["xdg-mime", "query", "default", kind]) or "").strip())
        if (entry := entries[kind]) is not None:
            found.setdefault(entry, []).append(path)
    return found


def _entry(name: str) -> str | None:
    """Return the file of a desktop entry by its name; None if there is none. A dash may stand for a folder."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    folders = [home, *(os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")]
    if not name.endswith(".desktop") or "/" in name:
        return None
    for folder in folders:
        for file in (name, name.replace("-", "/", 1)):
            path = os.path.join(folder, "applications", file)
            if os.path.isabs(path) and os.path.isfile(path):
                return path
    return None


def _answer(command: Sequence[str]) -> str | None:
    """Run a program and return what it prints; None if it is missing, fails or takes too long."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_SECONDS,
            check=True,
        )
        return os.fsdecode(done.stdout)
    return None


def _start(commands: Sequence[Sequence[str]], shown: Sequence[str]) -> None:
    """Start programs and leave those running that do not fail soon. Raises DesktopError that names one of ``shown``."""
    try:
        started = [
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for command in commands
        ]
    except OSError as error:
        raise DesktopError(f"{commands[0][0]} could not be started: {error.strerror}") from error
    until = time.monotonic() + _PATIENCE_SECONDS
    for process, command in zip(started, commands, strict=True):
        try:
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
        if code:
            what = next(path for path in shown if path in command)
            why = "" if sys.platform == "darwin" or _has_display() else "; no desktop is running here"
            name = os.path.basename(command[0])
            raise DesktopError(f"{name} could not open {display_path(what)} (exit code {code}){why}")
