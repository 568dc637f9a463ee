"""What `show` prints of an image, and what `status` counts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import ExifTags

from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run
from support.tagged_files import exif, keywords, packet, with_metadata

fake_model = fakes.fake_model
BASE, GPS = ExifTags.Base, ExifTags.GPS


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of a photo that tells much, a copy of it, one that tells nothing, and a damaged one."""
    photos = tmp_path / "photos"
    photos.mkdir()
    details = {BASE.DateTimeOriginal: "2023:07:14 09:30:05", BASE.OffsetTimeOriginal: "-03:30"}
    place = {GPS.GPSLatitude: (33.0, 51.0, 24.0), GPS.GPSLatitudeRef: "S"}
    place |= {GPS.GPSLongitude: (151.0, 12.0, 54.0), GPS.GPSLongitudeRef: "E"}
    camera = {BASE.Make: "NIKON CORPORATION", BASE.Model: "NIKON Z 8"}
    xmp = packet('xmp:Rating="3"', keywords("opera", "sea") + "<dc:title>By \x9b31mthe harbour</dc:title>")
    full = with_metadata("JPEG", exif(camera, details, place), xmp)
    (photos / "full.jpg").write_bytes(full)
    (photos / "copy.jpg").write_bytes(full)
    (photos / "plain.png").write_bytes(with_metadata("PNG"))
    os.utime(photos / "plain.png", (0, 0))
    (photos / "bad.jpg").write_bytes(full[:200])
    run(tmp_path / "ix", photos)
    return str(tmp_path / "ix")


def shown(index: str, image: Path, *options: str) -> str:
    """Return what `show` prints."""
    done = imgsearch("show", str(image), "--index", index, *options)
    assert done.code == 0, done.err
    return done.out.decode()


def test_show_prints_what_is_known(index: str, tmp_path: Path) -> None:
    """Date with its zone, camera, place, rating, words, size and copies stand under the path, and no control bytes."""
    out = shown(index, tmp_path / "photos" / "full.jpg")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == str(tmp_path / "photos" / "full.jpg")
    assert lines[1:-2] == [
        "taken 2023-07-14 09:30:05 (UTC-03:30)",
        "camera NIKON CORPORATION NIKON Z 8",
        "place -33.85667, 151.21500",
        "rating 3 of 5",
        "title By 31mthe harbour",
        "keywords opera, sea",
    ]
    assert lines[-2].startswith("size 64 × 48 pixels")
    assert lines[-1] == f"copy {tmp_path / 'photos' / 'copy.jpg'}"


def test_show_has_the_same_in_json(index: str, tmp_path: Path) -> None:
    """With --json it is one object with the date in ISO's form and null for what is unknown."""
    data = json.loads(shown(index, tmp_path / "photos" / "full.jpg", "--json"))
    assert (data["taken"], data["taken_from"]) == ("2023-07-14T09:30:05-03:30", "image")
    assert (data["model"], data["rating"], data["keywords"]) == ("NIKON Z 8", 3, ["opera", "sea"])
    assert (data["width"], data["height"], data["pages"], data["error"]) == (64, 48, 1, None)
    plain = json.loads(shown(index, tmp_path / "photos" / "plain.png", "--json"))
    assert (plain["taken_from"], plain["latitude"], plain["rating"], plain["model"]) == (
        "file",
        None,
        None,
        "",
    )


def test_a_date_that_is_only_the_files_is_marked(index: str, tmp_path: Path) -> None:
    """A photo without a date of its own has that of its file, and the line says so."""
    assert "1970-01-01" in shown(index, tmp_path / "photos" / "plain.png")
    assert "by the date of the file" in shown(index, tmp_path / "photos" / "plain.png")


def test_a_skipped_file_is_shown_with_its_reason(index: str, tmp_path: Path) -> None:
    """Of a file that could not be read, the reason is shown."""
    assert "skipped      corrupt" in shown(index, tmp_path / "photos" / "bad.jpg")


def test_a_file_that_is_away_is_shown_from_the_index(index: str, tmp_path: Path) -> None:
    """The index knows what it knows also when the file is not there."""
    (tmp_path / "photos" / "full.jpg").unlink()
    assert "the file is not there now" in shown(index, tmp_path / "photos" / "full.jpg")


@pytest.mark.parametrize(
    ("image", "message"),
    [("photos", "is a folder"), ("other.jpg", "is not in the index"), ("", "the path is empty")],
)
def test_what_is_no_indexed_image_is_an_error(index: str, tmp_path: Path, image: str, message: str) -> None:
    """A folder, a path that is not indexed and an empty one are one line and exit code 2."""
    done = imgsearch("show", str(tmp_path / image) if image else "", "--index", index)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_status_counts_what_is_known(index: str) -> None:
    """`status` shows how many images have a date of their own, a place and a camera; JSON has the same numbers."""
    assert (
        "1 with a date, 1 with a place, 1 with a camera" in imgsearch("status", "--index", index).out.decode()
    )
    data = json.loads(imgsearch("status", "--index", index, "--json").out)
    assert data["known"] == {"date": 1, "place": 1, "camera": 1}
