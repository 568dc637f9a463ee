"""JPEG: its header's reasons, metadata that is damaged, and files that stop before their end."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgsearch.media.decoders import jpeg
from imgsearch.types import PixelBudget
from support.decoded import load, off, refusal
from support.pictures import QUADRANTS, encode, quadrants, scene

# pytest undoes after each test what silences Pillow for good.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

NOISE = Image.fromarray(
    np.clip(
        np.asarray(scene(3, (320, 240))) + np.random.default_rng(1).normal(0, 20, (240, 320, 3)), 0, 255
    ).astype("u1")
)
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "grey": {},
    "CMYK": {},
    "4:4:4": {"subsampling": 0},
}


def written(way: str) -> bytes:
    image = NOISE.convert({"grey": "L", "CMYK": "CMYK"}.get(way, "RGB"))
    return encode(image, ".jpg", quality=90, **WAYS[way])


def segment(marker: int, contents: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents


# Ends


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["none", "half", "zeros", "many zeros", "zeros behind"])
def test_the_end_mark_costs_no_pixel(way: str, ending: str) -> None:
    """Without the mark, with half of it, with zeros in its place or behind it, the picture is the same."""
    whole = written(way)
    data = {
        "none": whole[:-2],
        "half": whole[:-1],
        "zeros": whole[:-2] + b"\0\0",
        "many zeros": whole[:-2] + b"\0" * 200_000,
        "zeros behind": whole + b"\0" * 5000,
    }[ending]
    found = load(data)
    assert np.array_equal(found.pixels, load(whole).pixels)
    assert found.note == ("" if ending == "zeros behind" else "end missing, 100 % of rows read")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tail", [b"", b"\0" * 3000])
def test_a_little_of_the_end_missing_is_marked(way: str, tail: bytes) -> None:
    """With 3 % of the bytes missing or read as zeros, the upper rows are the picture's, and the note tells."""
    whole = written(way)
    found = load(whole[: int(len(whole) * 0.97)] + tail)
    assert found.note.startswith("end missing, ")
    if way != "progressive":
        assert 90 <= int(found.note.split()[2]) < 100
        assert np.array_equal(found.pixels[:200], load(whole).pixels[:200])
    # Of a progressive file all rows are there, the last with less detail.
    apart = np.abs(found.pixels[:200].astype(int) - load(whole).pixels[:200])
    assert apart.mean() < 6


@pytest.mark.parametrize("way", [way for way in WAYS if way != "progressive"])
@pytest.mark.parametrize("kept", [0.5, 0.68])
def test_much_of_the_end_missing_is_corrupt(way: str, kept: float) -> None:
    """Below three quarters of the rows the file is skipped, with the share."""
    whole = written(way)
    error = refusal(whole[: int(len(whole) * kept)])
    assert error.reason == "corrupt"
    assert error.detail.startswith("end missing, ")
    assert abs(int(error.detail.split()[2]) - 100 * kept) < 12


def test_a_progressive_file_needs_its_first_scan() -> None:
    """What ends in the first scan has rows without anything in them."""
    whole = written("progressive")
    first = whole.index(b"\xff\xda")
    second = whole.index(b"\xff\xc4", first)
    assert refusal(whole[: (first + second) // 2]).reason == "corrupt"
    assert "not all detail" in load(whole[: second + (len(whole) - second) // 2]).note


def test_a_reduced_scale_is_marked_as_well() -> None:
    """A large file, of which libjpeg skips detail, has its share by its own rows."""
    whole = encode(scene(4, (1600, 1200)), ".jpg", quality=95)
    found = load(whole[: int(len(whole) * 0.98)])
    assert found.pixels.shape == (600, 800, 3)
    assert 90 <= int(found.note.split()[2]) < 100


def test_broken_in_the_middle_stays_what_it_was() -> None:
    """Nobody looks for an end in a file that has one."""
    whole = bytearray(written("baseline"))
    whole[len(whole) // 2 : len(whole) // 2 + 4] = b"\x55\xaa\x55\xaa"
    assert load(bytes(whole)).note == ""


# Reasons


def with_frame(marker: int | None = None, **changes: int) -> bytes:
    """Return a JPEG whose frame header has been changed."""
    data = bytearray(encode(quadrants(), ".jpg"))
    at = data.index(b"\xff\xc0")
    if marker is not None:
        data[at + 1] = marker
    for name, value in changes.items():
        place, layout = {"bits": (4, "B"), "height": (5, ">H"), "count": (9, "B")}[name]
        struct.pack_into(layout, data, at + place, value)
    return bytes(data)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF])
@pytest.mark.parametrize("bits", [12, 16])
def test_other_ways_of_coding_are_unsupported(marker: int, bits: int) -> None:
    """Lossless, hierarchical and arithmetic lossless JPEG of any depth are no damage."""
    assert refusal(with_frame(marker, bits=bits)).reason == "unsupported"


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC9, 0xCA])
@pytest.mark.parametrize("bits", [2, 10, 12, 16])
def test_other_depths_are_unsupported(marker: int, bits: int) -> None:
    """libjpeg decodes 8 bits per sample; the reason names the depth."""
    error = refusal(with_frame(marker, bits=bits))
    assert (error.reason, f"{bits} bits" in error.detail) == ("unsupported", True)


@pytest.mark.parametrize("count", [2, 5, 6])
def test_other_numbers_of_components_are_unsupported(count: int) -> None:
    """Grey with alpha, and five inks."""
    assert refusal(with_frame(count=count)).reason == "unsupported"


def test_what_only_its_first_marker_tells_is_unsupported() -> None:
    """JPEG-LS, hierarchical JPEG, and a height that stands behind the pixels."""
    whole = encode(quadrants(), ".jpg")
    assert (
        refusal(b"\xff\xd8" + segment(0xF7, b"\x08\0\x40\0\x60\3" + b"\1\x11\0" * 3)).reason == "unsupported"
    )
    assert (
        refusal(whole[:2] + segment(0xDE, b"\x08\0\x40\0\x60\3" + b"\1\x11\0" * 3) + whole[2:]).reason
        == "unsupported"
    )
    assert refusal(with_frame(height=0)).reason == "unsupported"


# Metadata

DAMAGED = {
    "ICC without anything": (0xE2, b"ICC_PROFILE\0"),
    "ICC with a number only": (0xE2, b"ICC_PROFILE\0\1"),
    "ICC 2 of 1": (0xE2, b"ICC_PROFILE\0\2\1junk"),
    "ICC 0 of 0": (0xE2, b"ICC_PROFILE\0\0\0junk"),
    "Adobe cut off": (0xEE, b"Adobe"),
    "Adobe almost": (0xEE, b"Adobe\0\x64\0\0\0"),
    "JFIF cut off": (0xE0, b"JFIF\0"),
    "JFXX": (0xE0, b"JFXX\0\x10"),
    "Exif cut off": (0xE1, b"Exif\0\0"),
    "Exif junk": (0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "MPF junk": (0xE2, b"MPF\0junk"),
    "FlashPix": (0xE2, b"FPXR\0"),
    "Photoshop junk": (0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff"),
    "XMP without anything": (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    "a comment": (0xFE, b""),
    "nothing known": (0xEB, b"\xff\xd8\xff\xd9" * 8),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("times", [1, 300])
def test_no_application_segment_costs_the_picture(name: str, times: int) -> None:
    """Damaged, unknown, or hundreds of them: the pixels are the same."""
    whole = encode(quadrants(), ".jpg", quality=95)
    data = whole[:2] + segment(*DAMAGED[name]) * times + whole[2:]
    assert np.array_equal(load(data).pixels, load(whole).pixels)


def test_fill_bytes_and_junk_between_segments_are_skipped() -> None:
    """Any number of FF before a marker, and stray bytes behind a segment."""
    whole = encode(quadrants(), ".jpg", quality=95)
    at = whole.index(b"\xff\xdb")
    for between in (b"\xff" * 5, b"\xff" * 500, b"\0\1\2", b"\x17" * 200):
        assert off(load(whole[:at] + between + whole[at:]), QUADRANTS) <= 8


class Counted(io.BytesIO):
    """A file that counts how often more than a header's bytes are asked for."""

    reads = 0

    def readinto(self, buffer: Any) -> int:
        self.reads += len(buffer) > 32_768
        return super().readinto(buffer)


def test_a_baseline_photo_is_read_in_large_pieces() -> None:
    """Threads that decode need Python's lock only once in a megabyte; a file of many scans is watched more often."""
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (700, 700, 3), dtype=np.uint8))
    reads = {}
    for way in ("baseline", "progressive"):
        stream = Counted(encode(image, ".jpg", quality=90, **WAYS[way]))
        assert len(stream.getvalue()) > 6 << 16
        list(jpeg.decode(stream, "JPEG", PixelBudget(256, 57_600), 10**9))
        reads[way] = stream.reads
    assert reads["baseline"] <= 3
    assert reads["progressive"] > 6
