"""Which files beside an image tell of it."""

from __future__ import annotations

import pytest

from imgsearch.files.sidecars import sidecars_among, sidecars_of


@pytest.mark.parametrize(
    ("image", "names", "expected"),
    [
        ("a.jpg", ["a.jpg.xmp", "a.xmp"], ("a.jpg.xmp",)),
        ("a.jpg", ["a.xmp", "b.xmp"], ("a.xmp",)),
        ("a.jpg", ["A.XMP"], ()),
        ("a.jpg", ["a.jpg.XMP"], ("a.jpg.XMP",)),
        ("a.jpg", ["a.jpg.json"], ("a.jpg.json",)),
        ("a.jpg", ["a.jpg.supplemental-metadata.json"], ("a.jpg.supplemental-metadata.json",)),
        ("a.jpg", ["a.jpg.supplemental-me.json", "a.xmp"], ("a.xmp", "a.jpg.supplemental-me.json")),
        ("a.jpg", ["a.json", "notes.json"], ()),
        ("a.jpg", ["a.png.xmp", "a.jpg.txt"], ()),
        ("a.b.jpg", ["a.xmp"], ()),
        ("a", ["a.xmp", "a.json"], ("a.xmp", "a.json")),
    ],
)
def test_the_sidecars_of_an_image_are_known_by_their_names(
    image: str, names: list[str], expected: tuple[str, ...]
) -> None:
    """An image's own XMP goes before its stem's; Takeout's JSON counts for the one image that it names."""
    assert sidecars_of(image, sidecars_among(names)) == expected


def test_a_folder_without_sidecars_has_none() -> None:
    """Images alone are no sidecars of each other."""
    assert sidecars_of("a.jpg", sidecars_among(["a.jpg", "a.png"])) == ()
