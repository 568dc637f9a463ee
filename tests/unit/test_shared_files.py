"""What the wheel brings besides the package: the man page, the desktop entry and its icon."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
import typer.main

from imgsearch.cli import app
from support import ROOT

ENTRY = ROOT / "share" / "applications" / "imgsearch.desktop"
ICON = ROOT / "share" / "icons" / "hicolor" / "scalable" / "apps" / "imgsearch.svg"
MAN = ROOT / "man" / "imgsearch.1"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_desktop_entry_opens_the_page() -> None:
    """The entry runs a command that there is, and names the icon that ships."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(ENTRY, encoding="utf-8")
    entry = parser["Desktop Entry"]
    program, command = entry["Exec"].split()
    assert program == "imgsearch"
    assert command in typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert entry["Icon"] == ICON.stem
    assert entry["Type"] == "Application"


def test_the_desktop_entry_is_valid() -> None:
    """freedesktop's own program has nothing to say about the entry."""
    if shutil.which("desktop-file-validate") is None:
        pytest.skip("there is no desktop-file-validate here (package desktop-file-utils)")
    done = subprocess.run(["desktop-file-validate", ENTRY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_icon_is_a_plain_square_drawing() -> None:
    """The icon is square, small, and made of shapes alone: no script, no link, nothing from elsewhere."""
    icon = ElementTree.parse(ICON).getroot()
    _, _, width, height = icon.attrib["viewBox"].split()
    assert width == height
    assert {element.tag for element in icon.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "rect", "circle", "path")
    }
    assert not any(
        "href" in name or name.startswith("on") for element in icon.iter() for name in element.attrib
    )
    assert ICON.stat().st_size < 2_000


def test_the_man_page_has_every_command_and_section() -> None:
    """Each command has a section, and files, variables and exit codes have one too."""
    page = MAN.read_text()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.hidden or re.search(rf'^\.SS "imgsearch {re.escape(name)}[ "]', page, re.MULTILINE), (
            name
        )
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "ENVIRONMENT", "FILES", '"EXIT CODES"'):
        assert re.search(rf'^\.SH "?{section.strip(chr(34))}"?$', page, re.MULTILINE), section


def test_the_man_page_is_free_of_mistakes() -> None:
    """mandoc finds no error and nothing to warn of but that there is no date: the page does not change by the day."""
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc here")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", MAN], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_the_man_page_renders() -> None:
    """man shows the page without a word on stderr."""
    if shutil.which("man") is None:
        pytest.skip("there is no man here")
    done = subprocess.run(["man", "--warnings", "-l", MAN], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this man takes no file")
    assert done.stderr == ""
    assert "search your images by describing what is in them" in done.stdout
