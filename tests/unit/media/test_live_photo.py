"""Live Photos and motion photos: which film is part of which still, and that no film hides in a still."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from imgsearch.media.live_photo import SAME_ID, SAME_SECOND, stills_of, why_part
from support.decoded import load, pages
from support.films import film, scenes
from support.live_photos import TAKEN, moving, still
from support.pictures import encode, scene
from support.tagged_files import packet, with_metadata


def why(moving: bytes, still: bytes, name: str = "IMG_1.HEIC") -> str:
    return why_part(io.BytesIO(moving), io.BytesIO(still), name)


@pytest.mark.parametrize("format", ["HEIF", "JPEG"])
def test_a_live_photo_is_told_by_its_identifier(format: str) -> None:
    """Still and film that name the same identifier belong together, whenever they were taken."""
    one = still(format, taken="2001:01:01 00:00:00", identifier="0A1B-PAIR")
    assert why(moving("0A1B-PAIR"), one) == SAME_ID
    assert why(moving("2C3D-OTHER", local="2001-01-01T00:00:00+0200"), one) == ""


@pytest.mark.parametrize(
    ("created", "local", "taken", "offset"),
    [
        ("2024-07-14T09:30:00Z", "", TAKEN, "+02:00"),
        ("2024-07-14T09:30:02Z", "", TAKEN, "+02:00"),
        ("2024-07-14T09:30:01Z", "", TAKEN, ""),
        ("", "2024-07-14T11:30:00+0200", TAKEN, "+02:00"),
        ("2020-01-01T00:00:00Z", "2024-07-14T11:30:00+0200", TAKEN, ""),
    ],
    ids=["UTC", "two seconds later", "a still without a zone", "local time", "local time first"],
)
def test_else_it_is_told_by_its_time(created: str, local: str, taken: str, offset: str) -> None:
    """Without identifiers, a film of some seconds that was taken when the still was is part of it."""
    assert why(moving("", created, local), still("JPEG", taken, offset)) == SAME_SECOND


@pytest.mark.parametrize(
    ("created", "taken", "offset", "frames"),
    [
        ("2024-07-14T09:30:05Z", TAKEN, "+02:00", 20),
        ("2024-07-14T09:37:00Z", TAKEN, "", 20),
        ("2024-07-16T09:30:00Z", TAKEN, "", 20),
        ("2024-07-14T09:30:00Z", TAKEN, "+02:00", 120),
        ("2024-07-14T09:30:00Z", "", "", 20),
        ("", TAKEN, "+02:00", 20),
    ],
    ids=[
        "later",
        "no zone is so far",
        "another day",
        "too long",
        "a still without a date",
        "a film without one",
    ],
)
def test_a_film_of_its_own(created: str, taken: str, offset: str, frames: int) -> None:
    """A film that only has the name of a still is a film of its own."""
    assert why(moving("", created, frames=frames), still("JPEG", taken, offset)) == ""


def test_what_is_damaged_is_no_pair() -> None:
    """Files that are cut off or none at all are not taken for parts of others."""
    whole, one = moving("0A1B-PAIR"), still(identifier="0A1B-PAIR")
    for length in (0, 7, 40, len(whole) // 2, len(whole) - 40):
        assert why(whole[:length], one) in ("", SAME_ID, SAME_SECOND)
        assert why(whole, one[: min(length, 40)]) == ""
    assert why(b"\0\0\0\0moov" * 40, one) == ""
    assert why(struct.pack(">I4sQ", 1, b"moov", 2**63), one) == ""


def test_which_stills_a_film_may_have() -> None:
    """A film's still has its name and the extension of what phones take; other films have none."""
    assert {"IMG_1.HEIC", "IMG_1.JPG", "IMG_1.jpg", "IMG_1.heic"} <= set(stills_of("IMG_1.MOV"))
    assert stills_of("clip.mkv") == []


def google(film: bytes, tags: str) -> bytes:
    """Return a motion photo as Google's phones write it: a JPEG, XMP that says so, and the film behind it."""
    return with_metadata("JPEG", xmp=packet(tags)) + film


MOTION = 'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" GCamera:MotionPhotoPresentationTimestampUs="500000"'


@pytest.mark.parametrize(
    "way", ["MotionPhoto", "MicroVideo", "Samsung's trailer", "HEIC with a box", "a film cut off"]
)
def test_a_motion_photo_is_its_still(way: str) -> None:
    """A still with a film behind it is one picture, that of the still, and its own in every pixel."""
    inside = film(scenes(2), "mp4")
    plain = with_metadata("JPEG", xmp=packet(MOTION))
    match way:
        case "MotionPhoto":
            data = google(inside, MOTION)
        case "MicroVideo":
            data = google(inside, f'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="{len(inside)}"')
        case "Samsung's trailer":
            head = b"\0\0\x30\x0a" + struct.pack("<I", 16) + b"MotionPhoto_Data"
            table = b"SEFH" + struct.pack(
                "<IIHHII", 107, 1, 0, 0x0A30, len(head + inside), len(head + inside)
            )
            data = plain + head + inside + table + struct.pack("<I", len(table)) + b"SEFT"
        case "HEIC with a box":
            plain = encode(scene(1, (64, 48)), ".heic")
            data = plain + struct.pack(">I4s", 8 + len(inside), b"mpvd") + inside
        case _:
            data = google(inside[: len(inside) // 2], MOTION)
    found = pages(data, "motion.mp4")  # nor does the name make a film of it
    assert len(found) == 1
    assert found[0].note == ""
    assert np.array_equal(found[0].pixels, load(plain).pixels)
