"""What `open` does with results besides opening them: --copy-to, --link-to, --sheet and --html."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give a state folder of the test's own, in which nothing has been searched for, and an empty current folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def found(fake_model: FakeModel, tmp_path: Path) -> list[Path]:
    """Search for red, and give the images that were found, best first: two of one name."""
    photos = [tmp_path / "photos" / name for name in ("red.png", "x/lake.png", "y/lake.png")]
    for photo, colours in zip(photos, (["red"], ["red", "red", "blue", "blue"], ["blue"]), strict=True):
        paint(photo, *colours)
    run(tmp_path / "ix", tmp_path / "photos")
    assert imgsearch("query", "red", "--index", tmp_path / "ix").code == 0
    return photos


def test_without_numbers_all_results_are_collected(found: list[Path], tmp_path: Path) -> None:
    """All results of the last search are copied; what is renamed is counted; ranks and scores are in the list."""
    done = imgsearch("open", "--copy-to", "out")
    assert (done.code, done.out) == (0, b"")
    assert done.err == f"3 images copied to {tmp_path / 'here' / 'out'} (1 renamed: the name was taken)\n"
    with open("out/imgsearch-results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["source"]) for row in rows] == [
        (str(rank), str(path)) for rank, path in enumerate(found, start=1)
    ]
    assert float(rows[0]["score"]) > float(rows[1]["score"]) > float(rows[2]["score"])
    assert [Path(row["target"]).read_bytes() for row in rows] == [path.read_bytes() for path in found]
    again = imgsearch("open", "--copy-to", "out")
    assert again.err == f"3 images: all in {tmp_path / 'here' / 'out'} already\n"


def test_numbers_choose_what_is_collected(found: list[Path]) -> None:
    """Of the results named by number each keeps its rank; files of no search are numbered from 1."""
    assert imgsearch("open", "2,3", "--link-to", "links").code == 0
    with open("links/imgsearch-results.csv", newline="") as file:
        assert [(row["rank"], row["source"]) for row in csv.DictReader(file)] == [
            ("2", str(found[1])),
            ("3", str(found[2])),
        ]
    assert os.readlink("links/lake.png") == str(found[1])
    paint(Path.cwd() / "other.png", "green")
    assert imgsearch("open", "other.png", "--copy-to", "others").code == 0
    assert sorted(os.listdir("others")) == ["imgsearch-results.csv", "other.png"]


def test_a_sheet_and_a_page_are_new_files(found: list[Path]) -> None:
    """Both at once; the second time their names are taken, and the message says what to do."""
    done = imgsearch("open", "--sheet", "hits.png", "--html", "hits.html")
    assert done.err == "contact sheet of 3 images: hits.png\npage of 3 images: hits.html\n"
    with Image.open("hits.png") as sheet:
        red, _, blue = sheet.convert("RGB").getpixel((16 + 102, 64 + 102))
        assert red > 200 > blue
    assert Path("hits.html").read_text().count("data:image/webp") == 3
    done = imgsearch("open", "--sheet", "hits.png")
    assert (done.code, done.err) == (
        2,
        "imgsearch: --sheet: hits.png is there already; name a new file\n",
    )


def test_what_is_missing_is_told_and_the_rest_is_done(found: list[Path]) -> None:
    """A result that was deleted since costs exit code 2 and a line that names it; the others are collected."""
    found[1].unlink()
    done = imgsearch("open", "--copy-to", "out")
    assert done.code == 2
    assert done.err.splitlines()[0].startswith("2 of 3 images copied to ")
    assert done.err.splitlines()[1] == f"imgsearch: 1 image not copied: {found[1]}: not there now"
    done = imgsearch("open", "--html", "hits.html")
    assert done.code == 2
    assert "1 image could not be shown: " in done.err
    assert Path("hits.html").read_text().count("data:image/webp") == 2


def test_copies_in_an_indexed_folder_are_told(found: list[Path], tmp_path: Path) -> None:
    """Who copies results into a folder that is indexed hears that the copies will be indexed too; not so of links."""
    done = imgsearch("open", "--copy-to", tmp_path / "photos" / "best")
    assert done.code == 0
    assert f"the copies are in an indexed folder, {tmp_path / 'photos'}: " in done.err
    assert "an indexed folder" not in imgsearch("open", "--link-to", tmp_path / "photos" / "linked").err


def test_what_can_not_be_collected_is_one_line(found: list[Path], tmp_path: Path) -> None:
    """A file in the folder's place, an empty name, no search, and nothing found are one line each."""
    Path("file").write_text("")
    assert "file is not a folder; name another one" in imgsearch("open", "--copy-to", "file").err
    assert "--html: the name is empty" in imgsearch("open", "--html", "").err
    assert "give a number of the last search, or an image file" in imgsearch("open", "--reveal").err
    assert "hits.gif has to end in .png or .jpg" in imgsearch("open", "--sheet", "hits.gif").err
    shutil.rmtree(tmp_path / "state")
    done = imgsearch("open", "--copy-to", "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no search is remembered; search first" in done.err
    assert sorted(os.listdir()) == ["file"]


@pytest.mark.slow("starts the program that opens a file")
@pytest.mark.skipif(sys.platform == "darwin", reason="the programs of a Linux desktop")
def test_open_with_a_search_opens_what_it_prints(
    found: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """query, similar and list print as ever and open the images, but for missing ones; with nothing found, nothing."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    (tmp_path / "bin").mkdir()
    program, log = tmp_path / "bin" / "xdg-open", tmp_path / "log"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    index = tmp_path / "ix"
    for command, opened in (
        (("query", "red", "-k", "2", "--paths"), found[:2]),
        (("similar", found[0], "-k", "1", "--json"), found[:1]),
        (("list", "--name", "lake.*"), found[1:]),
        (("list", tmp_path / "photos" / "x"), found[1:2]),
    ):
        plain = imgsearch(*command, "--index", index)
        done = imgsearch(*command, "--index", index, "--open")
        assert (done.code, done.out) == (0, plain.out), done.err
        assert sorted(log.read_text().splitlines()) == sorted(map(str, opened))
        log.unlink()
    found[0].unlink()
    assert imgsearch("query", "red", "-k", "2", "--index", index, "--open").code == 0
    assert log.read_text().splitlines() == [str(found[1])]
    log.unlink()
    assert imgsearch("query", "red", "--min-score", "2", "--index", index, "--open").code == 1
    assert not log.exists()


@pytest.mark.slow("starts the program that opens a file")
@pytest.mark.skipif(sys.platform == "darwin", reason="the programs of a Linux desktop")
def test_reveal_shows_the_folder_where_nobody_selects_files(
    found: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--reveal opens the folder of the image, not the image."""
    (tmp_path / "bin").mkdir()
    for name in ("gdbus", "dbus-send", "xdg-open"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n[ {name} = xdg-open ]\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert imgsearch("open", "2", "--reveal").code == 0
    assert (tmp_path / "log").read_text().splitlines()[-1] == f"xdg-open {found[1].parent}"
