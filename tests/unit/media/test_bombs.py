"""Files that would take all memory or all day: each is skipped with its reason, or decoded within its bounds."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imgsearch.errors import PictureError
from imgsearch.media import formats, limits
from imgsearch.media.formats import load_pictures
from imgsearch.types import DEFAULT_BUDGET
from support import ROOT
from support.bombs import BOMBS, bmp_rle, gif, jpeg, jpeg2000, png, psd, tga_rle, tiff

DECODED = [name for name, bomb in BOMBS.items() if not bomb.reason]
STOPPED = [name for name in BOMBS if name.startswith(("bmp", "ppm, 60"))]
REFUSED = sorted(set(BOMBS) - {*DECODED, *STOPPED})
"""By their headers, before anything is decoded."""


def outcome(data: bytes, extension: str) -> str:
    try:
        for _ in load_pictures(io.BytesIO(data), f"bomb{extension}", DEFAULT_BUDGET):
            pass
    except PictureError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("name", REFUSED)
def test_a_bomb_is_refused_by_its_header(name: str) -> None:
    """A file whose header shows that it would take too much is skipped with its reason."""
    bomb = BOMBS[name]
    assert outcome(bomb.draw(), bomb.extension) == bomb.reason


@pytest.mark.parametrize("name", STOPPED)
def test_what_no_header_shows_is_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose decoder reads bit by bit is stopped when its time is over, which is short here."""
    monkeypatch.setattr(limits, "SECONDS", 0.05)
    bomb = BOMBS[name]
    assert outcome(bomb.draw(), bomb.extension) == bomb.reason


@pytest.mark.parametrize(
    ("data", "extension"),
    [
        (jpeg(64), ".jpg"),
        (jpeg2000(64, data=b"\0" * 64), ".jp2"),
        (png(64, 16, 2, interlaced=True), ".png"),
        (gif(64, 3), ".gif"),
        (bmp_rle(64), ".bmp"),
        (psd(64), ".psd"),
        (tga_rle(64), ".tga"),
        (b"P6 200 200 255 " + bytes(120_000), ".ppm"),
        (b"Pf 200 200 -1.0\n" + bytes(160_000), ".pfm"),
        (tiff(64, (32,), photometric=1, kind=3, pages=2), ".tif"),
        (tiff(64, (8,) * 32, photometric=2, more={338: ("H", (0,) * 29)}), ".tif"),
    ],
)
def test_the_same_files_in_small_are_decoded(data: bytes, extension: str) -> None:
    """What the bombs are made of is no bomb in small."""
    assert outcome(data, extension) == ""


@pytest.mark.slow("decodes pictures of 200 megapixels, in processes of their own")
@pytest.mark.parametrize("name", ["png, one bit", "gif, 35 bytes", "jpeg 2000, 200 megapixels"])
def test_two_hundred_megapixels_take_less_than_a_gigabyte(name: str) -> None:
    """A large picture is reduced in strips: no copy of all its pixels is made."""
    script = [sys.executable, str(ROOT / "benchmarks" / "bombs.py"), "--seconds", "600", name]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    found = re.search(r"\| ([\d.]+) \| (\d+) \| 1 decoded \|$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    assert int(found[2]) < 1000


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    """A file of 50 GB is skipped by its size, whatever it begins with, before anybody hashes or decodes it."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(64))
    os.truncate(path, 50_000_000_000)
    with path.open("rb") as stream, pytest.raises(PictureError) as raised:
        formats.recognise(stream, path.name)
    assert raised.value.reason == "too large a file"
    assert raised.value.detail == "50.0 GB; a file of up to 16.0 GB is read"


@pytest.mark.parametrize(
    "data", [b"P6 " + b"secret" * 20 + b" 1 1 255 ", b"P5 1 1 secret ", b"P6 1 secret 255 "]
)
def test_what_is_said_of_a_broken_file_holds_none_of_its_bytes(data: bytes) -> None:
    """A decoder may quote what it could not read: its owner's text is left out."""
    with pytest.raises(PictureError) as raised:
        list(load_pictures(io.BytesIO(data), "a.ppm", DEFAULT_BUDGET))
    assert "secret" not in str(raised.value)
    assert raised.value.reason == "corrupt"
