"""Files that would take all memory or all day: each is skipped with its reason, or decoded within its bounds."""

from __future__ import annotations

import io

import pytest

from imgsearch.errors import PictureError
from imgsearch.media.formats import load_pictures
from imgsearch.types import DEFAULT_BUDGET
from support.bombs import BOMBS, jpeg, jpeg2000


def outcome(data: bytes, extension: str) -> str:
    try:
        for _ in load_pictures(io.BytesIO(data), f"bomb{extension}", DEFAULT_BUDGET):
            pass
    except PictureError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_skipped_with_its_reason(name: str) -> None:
    """A file whose header lies about its cost is skipped, or decoded where it costs little after all."""
    bomb = BOMBS[name]
    assert outcome(bomb.draw(), bomb.extension) == bomb.reason


def test_few_scans_and_components_are_decoded() -> None:
    """What the bombs are made of is no bomb in small: the same files with ordinary numbers are read."""
    assert outcome(jpeg(64), ".jpg") == ""
    assert outcome(jpeg2000(64, data=b"\0" * 64), ".jp2") == ""
