"""Metadata as exiftool reads it, field by field: one file of each format by each writer. Skipped without exiftool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PIL import ExifTags

from support.exiftool import EXIFTOOL, compare
from support.tagged_files import KINDS, exif, keywords, packet, records, with_metadata

pytestmark = pytest.mark.skipif(
    EXIFTOOL is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)"
)

BASE, GPS = ExifTags.Base, ExifTags.GPS
CAMERA = {BASE.Make: "FUJIFILM", BASE.Model: "X-T5", BASE.Software: "1.00", BASE.ImageDescription: "A boat"}
DETAILS = {
    BASE.DateTimeOriginal: "2023:07:14 09:30:05",
    BASE.SubsecTimeOriginal: "347",
    BASE.OffsetTimeOriginal: "-03:30",
    BASE.LensModel: "XF23mmF1.4 R",
}
SOUTH_WEST = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (33.0, 51.0, 30.24),
    GPS.GPSLongitudeRef: "W",
    GPS.GPSLongitude: (2.0, 17.0, 40.2),
}
WINDOWS = {0x9C9B: "Opera Ωδή\0".encode("utf-16-le"), 0x9C9E: "sea;harbour\0".encode("utf-16-le"), 0x4746: 4}
XMP = packet(
    'xmp:Rating="3" xmp:CreatorTool="darktable 4.6" photoshop:DateCreated="2022-02-19T14:48:13.25+03:00" '
    'exif:GPSLatitude="48,51.504N" exif:GPSLongitude="2,17.67W"',
    '<dc:title><rdf:Alt><rdf:li xml:lang="de">Katze</rdf:li><rdf:li xml:lang="x-default">Café</rdf:li></rdf:Alt>'
    "</dc:title><dc:description><rdf:Alt><rdf:li>A cat &amp; a boat</rdf:li></rdf:Alt></dc:description>"
    + keywords("cat", "boat"),
)
IPTC = records(
    (5, b"Harbour"), (25, b"boat"), (25, b"sea"), (55, b"20240714"), (60, b"093000+0200"), (120, b"A boat")
)
BY_EXIFTOOL = {
    "EXIF:DateTimeOriginal": "2023:07:14 09:30:05",
    "EXIF:SubSecTimeOriginal": "347",
    "EXIF:OffsetTimeOriginal": "-03:30",
    "EXIF:Make": "NIKON CORPORATION",
    "EXIF:Model": "NIKON Z 8",
    "EXIF:LensModel": "NIKKOR Z 24-70mm f/4 S",
    "EXIF:GPSLatitude": "-33.8568",
    "EXIF:GPSLatitudeRef": "S",
    "EXIF:GPSLongitude": "151.2153",
    "EXIF:GPSLongitudeRef": "E",
    "XMP-xmp:Rating": "3",
    "XMP-dc:Title": "Opera Ωδή",
    "XMP-dc:Description": "By the harbour",
    "XMP-dc:Subject": "opera",
    "IFD0:Software": "Ver.02.00",
}
CAMERAS = {"taken", "offset", "make", "model", "lens", "latitude", "longitude", "description", "software"}
PEOPLES = {
    "taken",
    "offset",
    "latitude",
    "longitude",
    "rating",
    "title",
    "description",
    "keywords",
    "software",
}


def named(kind: str) -> str:
    """Return a file name for a format."""
    return f"a.{kind.lower().replace('heif', 'heic')}"


def check(path: Path, known: set[str]) -> None:
    """Assert that both know these fields of a file, and the same of each."""
    fields = compare(str(path))
    assert {field.name for field in fields} == known
    assert [field for field in fields if not field.equal] == []


@pytest.mark.parametrize("kind", KINDS)
def test_exif_of_a_camera(kind: str, tmp_path: Path) -> None:
    """Date, camera, lens, place and words in EXIF, as Pillow writes it."""
    path = tmp_path / named(kind)
    path.write_bytes(with_metadata(kind, exif(CAMERA, DETAILS, SOUTH_WEST)))
    check(path, CAMERAS)


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_windows(kind: str, tmp_path: Path) -> None:
    """Title, keywords and stars in the tags that Windows' Explorer writes."""
    path = tmp_path / named(kind)
    path.write_bytes(with_metadata(kind, exif(WINDOWS)))
    check(path, {"title", "keywords", "rating"})


@pytest.mark.parametrize("kind", KINDS)
def test_xmp_beside_exif(kind: str, tmp_path: Path) -> None:
    """A packet goes before EXIF for all but the date."""
    path = tmp_path / named(kind)
    path.write_bytes(with_metadata(kind, xmp=XMP))
    check(path, PEOPLES)
    path.write_bytes(with_metadata(kind, exif(CAMERA, DETAILS, SOUTH_WEST), XMP))
    check(path, CAMERAS | PEOPLES)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_iptc_alone_and_beside_the_others(kind: str, tmp_path: Path) -> None:
    """IPTC's words and date count where nothing else has them; keywords are united."""
    path = tmp_path / named(kind)
    path.write_bytes(with_metadata(kind, iptc=IPTC))
    check(path, {"taken", "offset", "title", "description", "keywords"})
    path.write_bytes(with_metadata(kind, exif(CAMERA, DETAILS, SOUTH_WEST), XMP, IPTC))
    check(path, CAMERAS | PEOPLES)


@pytest.mark.parametrize("kind", KINDS)
def test_what_exiftool_wrote(kind: str, tmp_path: Path) -> None:
    """EXIF and XMP as exiftool writes them."""
    path = tmp_path / named(kind)
    path.write_bytes(with_metadata(kind))
    options = [f"-{name}={value}" for name, value in BY_EXIFTOOL.items()]
    subprocess.run([str(EXIFTOOL), "-q", "-overwrite_original", *options, str(path)], check=True)
    check(path, CAMERAS | {"rating", "title", "keywords"})


@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp"])
def test_a_sidecar(name: str, tmp_path: Path) -> None:
    """What a sidecar tells goes before the image, its date too."""
    (tmp_path / "a.jpg").write_bytes(with_metadata("JPEG", exif(CAMERA, DETAILS, SOUTH_WEST)))
    (tmp_path / name).write_bytes(XMP)
    check(tmp_path / "a.jpg", CAMERAS | PEOPLES)
    assert {field.name: field.ours for field in compare(str(tmp_path / "a.jpg"))}["offset"] == 180
