"""Filters find what looking at each image finds."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.index.metadata import collect
from imgsearch.index.metadata.file_filters import Named, Screenshot, Typed
from imgsearch.index.metadata.filters import (
    FACTS,
    SHAPES,
    Camera,
    Filter,
    Has,
    Keyword,
    Lens,
    Near,
    Rated,
    Shape,
    Sized,
    Taken,
)
from imgsearch.index.metadata.globe import km_between
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Metadata, SourceFile
from support.fakes import DIM, sha, spec, unit

DATES = [datetime(2020, 1, 1), datetime(2023, 7, 14, 9, 30), datetime(2024, 1, 1), None]
WORDS = ["sea", "Ärger", "cat"]

METADATA = st.builds(
    lambda taken, by, make, model, place, rating, title, keywords: Metadata(
        taken=taken,
        taken_from=by if taken else "",
        make=make,
        model=model,
        lens=model and f"{model} lens",
        latitude=place,
        longitude=place,
        rating=rating,
        title=title,
        keywords=tuple(keywords),
    ),
    st.sampled_from(DATES),
    st.sampled_from(["image", "file"]),
    st.sampled_from(["FUJIFILM", ""]),
    st.sampled_from(["X-T5", "NIKON Z 8", ""]),
    st.sampled_from([None, 48.5]),
    st.sampled_from([None, -1, 0, 3, 5]),
    st.sampled_from(["", "t"]),
    st.lists(st.sampled_from(WORDS), unique=True, max_size=2),
)
SIZES = st.sampled_from([(0, 0), (100, 100), (100, 99), (150, 100), (100, 150), (300, 100), (1080, 1920)])
NAMES = st.sampled_from(["IMG_1.JPG", "img_2.heic", "Screenshot 1.png", "SCREEN.png", "Ä.jpg", "none"])
FILES = st.lists(
    st.tuples(st.sampled_from(["", "b", "b/c", "bc"]), NAMES), min_size=1, max_size=2, unique=True
)
BELOW = st.lists(st.sampled_from(["", "b", "b/c", "bc", "b/0IMG_1.JPG", "b/1img_2.heic"]), max_size=2)
Image = tuple[Metadata, tuple[int, int], list[tuple[str, str]]]
IMAGES = st.tuples(METADATA, SIZES, FILES)
GLOBS = [
    "*img*",
    "?img_?.jpg",
    "*.JPG",
    "0*",
    "*[ä1].*",
    "*_2.*",
    "nothing",
    "*",
    "1screenshot 1.png",
    "*sc*e*n*",
]
FILTERS = st.lists(
    st.one_of(
        st.builds(
            Taken,
            st.sampled_from([None, *DATES[:3]]),
            st.sampled_from([None, DATES[1], DATES[2] + timedelta(1)]),
        ),
        st.builds(Camera, st.sampled_from(["x-t5", "fujifilm x", "nikon", "9"])),
        st.builds(Lens, st.sampled_from(["LENS", "x-t5"])),
        st.builds(Rated, st.integers(0, 5)),
        st.builds(Keyword, st.sampled_from(["SEA", "ärger", "ca"])),
        st.builds(Shape, st.sampled_from(sorted(SHAPES))),
        st.builds(Has, st.sampled_from(sorted(FACTS))),
        st.builds(Near, st.just(48.0), st.just(48.5), st.sampled_from([1.0, 100.0])),
        st.builds(
            Sized, st.sampled_from([0, 10_000]), st.sampled_from([0, 100, 150]), st.sampled_from([0, 100])
        ),
        st.builds(Named, st.sampled_from(GLOBS)),
        st.sampled_from([Typed(("jpg", "jpeg"), ("jpg",)), Typed(("heic", "png"), ("heic", "png"))]),
        st.builds(Screenshot, st.booleans()),
    ),
    min_size=1,
    max_size=3,
)


def passes(filter: Filter, known: Metadata, size: tuple[int, int], name: str) -> bool:
    """Whether an image, with a file of some name, passes a filter, by looking at it."""
    width, height = size
    match filter:
        case Taken(start, end):
            taken = known.taken
            return taken is not None and (start is None or taken >= start) and (end is None or taken < end)
        case Camera(part):
            return part.casefold() in f"{known.make} {known.model}".casefold()
        case Lens(part):
            return part.casefold() in known.lens.casefold()
        case Rated(least):
            return known.rating is not None and known.rating >= least
        case Keyword(word):
            return word.casefold() in [keyword.casefold() for keyword in known.keywords]
        case Shape(shape):
            return (
                width > 0
                and {
                    "landscape": width > height,
                    "portrait": width < height,
                    "square": abs(width - height) * 50 <= height,
                    "panorama": max(size) >= 2 * min(size),
                }[shape]
            )
        case Sized(pixels, longer, shorter):
            return width > 0 and width * height >= pixels and max(size) >= longer and min(size) >= shorter
        case Has(fact):
            return {
                "date": known.taken_from not in ("", "file"),
                "gps": known.latitude is not None,
                "camera": bool(known.model),
                "rating": known.rating is not None,
                "title": bool(known.title),
                "keywords": bool(known.keywords),
            }[fact]
        case Near(latitude, longitude, km):
            there = known.latitude, known.longitude
            return None not in there and km_between(latitude, longitude, *there) <= km  # type: ignore[arg-type]
        case Named(glob):
            return fnmatchcase(name.casefold(), glob.casefold())
        case Typed(extensions):
            return any(name.casefold().endswith(f".{extension}") for extension in extensions)
        case Screenshot(wanted):
            screen = "screenshot" in name.casefold() or (name.endswith(".png") and size == (1080, 1920))
            return wanted == (screen and not known.make and not known.model)
    raise AssertionError(filter)


def found(image: Image, number: int, filters: list[Filter], below: list[str]) -> bool:
    """Whether an image passes all filters, with one of its files in one of the folders."""
    known, size, files = image
    return any(
        (
            not below
            or any(f"{folder}/{number}{name}".lstrip("/").startswith(f"{top}/".lstrip("/")) for top in below)
            or f"{folder}/{number}{name}".lstrip("/") in below
        )
        and all(passes(filter, known, size, f"{number}{name}") for filter in filters)
        for folder, name in files
    )


def states(root: int, number: int, image: Image) -> list[FileState]:
    """Return the files of an image as a writer commits them."""
    known, _, files = image
    return [
        FileState(
            root,
            SourceFile("/pictures", f"{folder}/{number}{name}".lstrip("/"), 1, 1),
            sha(number),
            metadata=known,
        )
        for folder, name in files
    ]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    images=st.lists(IMAGES, min_size=1, max_size=12),
    later=st.lists(IMAGES, max_size=6),
    filters=FILTERS,
    below=BELOW,
    columns=st.booleans(),
)
def test_a_filtered_search_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[Image],
    later: list[Image],
    filters: list[Filter],
    below: list[str],
    columns: bool,
) -> None:
    """As many hits as exist come back, best first, and each passes all filters: by SQL, by columns, and by both.

    ``columns`` are made of the first images; then some of these become others, and more are added.
    """
    folder = str(tmp_path_factory.mktemp("filters"))
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})

        def commit(some: list[Image], first: int) -> None:
            contents = [(sha(number), 0, *image[1]) for number, image in enumerate(some, first)]
            files = [
                state for number, image in enumerate(some, first) for state in states(root, number, image)
            ]
            writer.commit(contents, unit(first + len(some), 1)[first:], files)

        commit(images, 0)
        if columns:
            collect.build(writer.catalog.database, writer.data, 1, len(images))
        commit(later[len(later) // 2 :], len(images))
        changed = later[: len(later) // 2][: len(images)]
        for number, image in enumerate(changed):
            writer.catalog.drop_files(
                [file.id for file in writer.catalog.files(root) if file.content == sha(number)]
            )
            writer.commit([], unit(0, 1), states(root, number, image))
        every = [*images, *later[len(later) // 2 :]]
        every[: len(changed)] = [(now[0], was[1], now[2]) for now, was in zip(changed, images, strict=False)]
    asked = unit(1, 2)
    with ImageIndex(folder) as index:
        confined = [os.path.join("/pictures", path).rstrip("/") for path in below]
        hits = index.search(asked, len(every), filters=filters, below=confined)[0]
        everything = index.search(asked, len(every))[0]
        assert bool(index.snapshot.columns(index.catalog)) == columns
    numbers = {sha(number): number for number in range(len(every))}
    expected = [
        record.sha256
        for record, _ in everything
        if found(every[numbers[record.sha256]], numbers[record.sha256], filters, below)
    ]
    assert [record.sha256 for record, _ in hits] == expected
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)


@given(FILTERS)
def test_a_filter_says_what_it_is(filters: list[Filter]) -> None:
    """Each filter is a sentence in one line and an object of JSON with a value."""
    for filter in filters:
        assert filter.sentence().strip()
        assert "\n" not in filter.sentence()
        assert filter.as_json()


@pytest.mark.parametrize(
    "make", [lambda: Rated(6), lambda: Rated(-1), lambda: Shape("round"), lambda: Has("soul")]
)
def test_what_no_filter_can_be_is_refused(make: object) -> None:
    """A rating beyond five stars, an unknown shape and an unknown fact are errors that name what there is."""
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]


def test_a_reader_of_an_older_format_finds_nothing_by_metadata(tmp_path: Path) -> None:
    """An image without a row of metadata passes no filter, and is no error."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        state = FileState(root, SourceFile("/pictures", "a.jpg", 1, 1), sha("a"))
        writer.commit([(sha("a"), 0, 10, 10)], np.eye(1, DIM, dtype=np.float32), [state])
    with ImageIndex(str(tmp_path)) as index:
        assert index.search(np.eye(1, DIM, dtype=np.float32), 5, filters=[Has("date")]) == [[]]
