"""Nine everyday situations of folders, links, dates and caches, as a person types them.

Some are proved elsewhere, in the room of what they are about:

- another disk at the same path: tests/unit/indexing/test_drives.py
- words in other encodings: test_what_is_no_text_on_stdin_is_one_line in tests/cli/test_cli.py, tests/cli/test_names.py;
  ignore files in tests/unit/files/test_files.py
- a model that is here already: test_a_model_in_the_hugging_face_cache_needs_no_download in tests/cli/test_first_run.py

The other six follow.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import fakes, mounts
from support.cli import imgsearch
from support.fakes import FakeModel, paint
from support.mounts import Binds

fake_model, binds = fakes.fake_model, mounts.binds


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_model: FakeModel) -> Path:
    """Give a folder with a red and a blue image, which IMGSEARCH_INDEX's index is to hold."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    for name in ("red", "blue"):
        paint(tmp_path / "photos" / f"{name}.bmp", name)
    return tmp_path / "photos"


def summary(*argv: object) -> tuple[int, int, int, int]:
    """Run `index` and return how many images it indexed, took as known, left unchanged and removed."""
    done = imgsearch("index", *argv, "--json")
    assert done.code == 0, done.err
    (found,) = done.objects
    return found["indexed"], found["reused"], found["unchanged"], found["pruned"]


def paths(*argv: object) -> list[str]:
    """Run a command with --paths and return the paths that it prints."""
    done = imgsearch(*argv, "--paths")
    assert done.code == 0, done.err
    return done.lines


def test_a_date_that_can_not_be(photos: Path) -> None:
    """An image from the year 2400, or from before 1677, is indexed like any other, and only once."""
    os.utime(photos / "red.bmp", ns=(2**63, 2**63))
    os.utime(photos / "blue.bmp", (-(10**10), -(10**10)))
    assert summary(photos) == (2, 0, 0, 0)
    assert summary() == (0, 0, 2, 0)


def test_a_file_that_changed_under_the_same_size_and_time(photos: Path) -> None:
    """What was rewritten in place, with its time put back, is found as what it is now."""
    summary(photos)
    red, blue = photos / "red.bmp", photos / "blue.bmp"
    status = red.stat()
    with open(red, "r+b") as file:
        file.write(blue.read_bytes())
    os.utime(red, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert summary() == (0, 1, 1, 0)
    assert sorted(paths("query", "blue", "--within", 1)) == [str(blue)]
    assert imgsearch("query", "blue", "--json", "-n", 1).objects[0]["copies"] == [str(red)]


def test_a_path_through_a_link(photos: Path) -> None:
    """What is shown through a link is a filter, a query and a folder of the index, and is removed by that name."""
    trip = paint(photos.parent / "ext" / "trip" / "green.png", "green").parent
    (photos / "trip").symlink_to("../ext/trip")
    assert summary(photos, "--follow-symlinks") == (3, 0, 0, 0)
    shown = f"{photos}/trip/green.png"
    assert paths("query", "red", "--in", photos / "trip") == [shown]
    assert paths("similar", shown, "-n", 1) == [shown]
    assert summary(photos / "trip") == (0, 0, 1, 0)
    assert summary(shown) == (0, 0, 1, 0)
    assert summary() == (0, 0, 3, 0)
    assert imgsearch("list", photos / "trip").lines == [shown]
    trip.rename(trip.parent / "away")
    assert paths("similar", shown, "-n", 1) == [shown]
    assert "1 " in imgsearch("remove", shown).err
    assert imgsearch("list", photos / "trip").code == 1


def test_a_folder_with_two_names(photos: Path, binds: Binds) -> None:
    """A folder that is mounted at a second place is one folder: one result per file, by either name."""
    alias = photos.parent / "alias"
    binds.put(photos, alias)
    assert summary(photos) == (2, 0, 0, 0)
    assert summary(alias) == (0, 0, 2, 0)
    (hit,) = imgsearch("query", "red", "--in", alias / "red.bmp", "--json").objects
    assert (hit["path"], hit["copies"]) == (str(photos / "red.bmp"), [])
    assert imgsearch("remove", alias / "red.bmp").code == 0
    assert imgsearch("list", alias).lines == [str(photos / "blue.bmp")]


def test_a_name_that_hides_an_image_and_what_is_not_read(photos: Path) -> None:
    """Files of other names and unfollowed links are counted; a file that is given is read whatever its name."""
    (photos / "tweet.jpg_large").write_bytes(paint(photos.parent / "green.png", "green").read_bytes())
    (photos / "clip.mxf").touch()
    (photos / "more").symlink_to(photos.parent)
    done = imgsearch("index", photos)
    assert "1 video was not read" in done.err
    assert "1 link is not followed (--follow-symlinks to follow links)" in done.err
    assert summary(photos / "tweet.jpg_large") == (1, 0, 0, 0)
    assert paths("query", "green", "-n", 1) == [str(photos / "tweet.jpg_large")]


def test_copies_that_other_programs_keep(photos: Path) -> None:
    """Of a library of Apple Photos the originals are indexed, and the previews with an option."""
    library = photos / "Photos Library.photoslibrary"
    paint(library / "originals" / "0" / "a.png", "green")
    paint(library / "resources" / "derivatives" / "0" / "a.png", "green")
    done = imgsearch("index", photos)
    assert "previews that other programs keep" in done.err
    assert len(imgsearch("list", library).lines) == 1
    summary(photos, "--include-copies")
    assert len(imgsearch("list", library).lines) == 2
