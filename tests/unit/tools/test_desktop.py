"""Handing images to the desktop: which programs are called with what, where stand-ins for them note their arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from imgsearch.tools import desktop as desktop_module
from imgsearch.tools.desktop import DesktopError, open_files, reveal

pytestmark = [
    pytest.mark.slow("starts the programs that stand in for the desktop's"),
    pytest.mark.skipif(sys.platform == "darwin", reason="the programs of a Linux desktop"),
]
NAMES = ("xdg-open", "xdg-mime", "gio", "gdbus", "dbus-send")


class Desktop:
    """Programs on the path that note how they were called, and do as they are told."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.bin, self.log = folder / "bin", folder / "log"
        self.bin.mkdir()
        self.log.mkdir()
        (self.bin / "sh").symlink_to("/bin/sh")
        patch.setenv("PATH", str(self.bin))
        patch.setenv("DISPLAY", ":0")
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        self.entries = folder / "data" / "applications"
        self.entries.mkdir(parents=True)

    def has(self, name: str, does: str = "") -> None:
        """Put a program there, which notes its arguments and runs a line of shell."""
        program = self.bin / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\0" {name} "$@" > {self.log}/$$\n{does}\n')
        program.chmod(0o755)

    def called(self) -> list[list[str]]:
        """Return the calls, in an order of their own: several programs are started at once."""
        return sorted(call.read_text().split("\0")[:-1] for call in self.log.iterdir())


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desktop:
    """Give a desktop with no program."""
    folder = tmp_path / "desktop"
    folder.mkdir()
    return Desktop(folder, monkeypatch)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Give the paths of three images, two of one type, with odd names."""
    paths = [tmp_path / name for name in ("a 'b', c.jpg", "-d\n[é].jpg", "e.png")]
    for path in paths:
        path.write_bytes(b"image")
    return [str(path) for path in paths]


def test_several_images_reach_their_viewer_in_one_call(desktop: Desktop, images: list[str]) -> None:
    """Images of the types that one program is the default for are opened by one call of its desktop entry."""
    for name in ("gio", "xdg-open"):
        desktop.has(name)
    desktop.has("xdg-mime", "echo viewer.desktop")
    (desktop.entries / "viewer.desktop").write_text("")
    open_files([*images, images[0]])
    assert [call for call in desktop.called() if call[0] != "xdg-mime"] == [
        ["gio", "launch", str(desktop.entries / "viewer.desktop"), *images]
    ]


def test_each_type_is_opened_by_its_own_viewer(desktop: Desktop, images: list[str]) -> None:
    """A type with another default program goes to that; one without a known entry goes to xdg-open."""
    for name in ("gio", "xdg-open"):
        desktop.has(name)
    desktop.has("xdg-mime", 'case "$3" in image/jpeg) echo a-viewer.desktop;; *) echo none.desktop;; esac')
    (desktop.entries / "a").mkdir()
    (desktop.entries / "a" / "viewer.desktop").write_text("")
    open_files(images)
    assert [call for call in desktop.called() if call[0] != "xdg-mime"] == [
        ["gio", "launch", str(desktop.entries / "a" / "viewer.desktop"), *images[:2]],
        ["xdg-open", images[2]],
    ]


@pytest.mark.parametrize("missing", ["gio", "xdg-mime", "display"])
def test_where_no_viewer_is_known_each_image_is_opened_alone(
    desktop: Desktop, images: list[str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without GLib's program, without default applications or without a display xdg-open gets them one by one."""
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if missing == "display":
        monkeypatch.delenv("DISPLAY")
    for name in {"gio", "xdg-mime", "xdg-open"} - {missing}:
        desktop.has(name)
    open_files(images)
    opened = [call for call in desktop.called() if call[0] != "xdg-mime"]
    assert opened == sorted(["xdg-open", path] for path in images)


def test_a_file_manager_is_asked_to_select_the_files(desktop: Desktop, images: list[str]) -> None:
    """The addresses in the one argument hold no quote and no comma of a file's name; xdg-open is not needed."""
    desktop.has("gdbus")
    reveal(*images[:2])
    (call,) = desktop.called()
    folder = Path(images[0]).parent.as_uri()
    names = ("a%20%27b%27%2C%20c.jpg", "-d%0A%5B%C3%A9%5D.jpg")
    assert call[-2:] == [f"['{folder}/{names[0]}', '{folder}/{names[1]}']", ""]


def test_the_other_program_for_messages_does_as_well(desktop: Desktop, images: list[str]) -> None:
    """Where GLib's program is missing or fails, dbus-send asks the file manager."""
    desktop.has("gdbus", "exit 1")
    desktop.has("dbus-send")
    reveal(images[2])
    assert desktop.called()[0][-2:] == [f"array:string:{Path(images[2]).as_uri()}", "string:"]


def test_without_a_file_manager_to_ask_the_folder_is_opened(desktop: Desktop, images: list[str]) -> None:
    """A desktop whose file manager does not answer shows the folder, once for all files in it."""
    desktop.has("gdbus", "exit 1")
    desktop.has("xdg-open")
    reveal(*images)
    assert desktop.called()[-1] == ["xdg-open", str(Path(images[0]).parent)]
    assert len(desktop.called()) == 2


def test_what_can_not_be_shown_is_one_line(
    desktop: Desktop, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No program, a program that fails, a file that is not there, and too many files: each is told in one line."""
    with pytest.raises(DesktopError, match="xdg-open, which opens files on your desktop, is missing"):
        open_files(images[:1])
    desktop.has("xdg-open", "exit 3")
    with pytest.raises(DesktopError, match=r"could not open .*e\.png \(exit code 3\)$"):
        open_files(images[2:])
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DesktopError, match="no desktop is running here"):
        reveal(images[2])
    with pytest.raises(DesktopError, match="not there now"):
        reveal(images[2], "/none.png")
    with pytest.raises(DesktopError, match=r"21 images .* at most 20 at a time"):
        open_files([f"/{number}.png" for number in range(21)])


@pytest.mark.parametrize(
    ("entry", "file", "page", "words"),
    [
        ("org.gnome.Evince", "a.pdf", 6, ["evince", "--page-index=7", "{}"]),
        ("okularApplication_pdf", "a.pdf", 6, ["okular", "--page=7", "{}"]),
        ("mupdf", "a.pdf", 6, ["mupdf", "{}", "7"]),
        ("qpdfview", "a.pdf", 6, ["qpdfview", "{}#7"]),
        ("firefox-esr", "a b.pdf", 6, ["firefox-esr", "file://{quoted}#page=7"]),
        ("evince", "a.cbz", 2, ["evince", "--page-index=3", "{}"]),
        ("mpv", "a.mp4", 83_200, ["mpv", "--start=83.200", "{}"]),
        ("vlc", "a.mp4", 83_200, ["vlc", "--start-time=83.200", "{}"]),
        ("chromium", "a.mp4", 83_200, ["chromium", "file://{quoted}#t=83.200"]),
        ("gimp", "a.pdf", 6, None),
        ("chromium", "a.cbz", 2, None),
        ("qpdfview", "a#1.pdf", 6, None),
    ],
)
def test_a_viewer_is_told_the_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry: str,
    file: str,
    page: int,
    words: list[str] | None,
) -> None:
    """Each known viewer opens a document at its page or a film at its time; any other one opens just the file."""
    path = str(tmp_path / file)
    monkeypatch.setattr(desktop_module, "_answer", lambda command: f"{entry}.desktop\n")
    monkeypatch.setattr(desktop_module.shutil, "which", lambda name: name)
    expected = words and [word.format(path, quoted=quote(path)) for word in words]
    assert desktop_module._opened_at(path, page) == expected
