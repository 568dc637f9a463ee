"""Filters find what looking at each image finds."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.index.metadata.filters import (
    FACTS,
    SHAPES,
    Camera,
    Filter,
    Has,
    Keyword,
    Lens,
    Rated,
    Shape,
    Taken,
)
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
SIZES = st.sampled_from([(0, 0), (100, 100), (100, 99), (150, 100), (100, 150), (300, 100)])
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
    ),
    min_size=1,
    max_size=3,
)


def passes(filter: Filter, known: Metadata, size: tuple[int, int]) -> bool:
    """Whether an image passes a filter, by looking at it."""
    width, height = size
    match filter:
        case Taken(start, end):
            taken = known.taken
            return taken is not None and (start is None or taken >= start) and (end is None or taken < end)
        case Camera(name):
            return name.casefold() in f"{known.make} {known.model}".casefold()
        case Lens(name):
            return name.casefold() in known.lens.casefold()
        case Rated(least):
            return known.rating is not None and known.rating >= least
        case Keyword(word):
            return word.casefold() in [keyword.casefold() for keyword in known.keywords]
        case Shape(name):
            return (
                width > 0
                and {
                    "landscape": width > height,
                    "portrait": width < height,
                    "square": abs(width - height) * 50 <= height,
                    "panorama": max(size) >= 2 * min(size),
                }[name]
            )
        case Has(fact):
            return {
                "date": known.taken_from not in ("", "file"),
                "gps": known.latitude is not None,
                "camera": bool(known.model),
                "rating": known.rating is not None,
                "title": bool(known.title),
                "keywords": bool(known.keywords),
            }[fact]
    raise AssertionError(filter)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=st.lists(st.tuples(METADATA, SIZES), min_size=1, max_size=12), filters=FILTERS)
def test_a_filtered_search_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[Metadata, tuple[int, int]]],
    filters: list[Filter],
) -> None:
    """As many hits as exist come back, in order of their scores, and each passes all of the filters."""
    folder = tmp_path_factory.mktemp("filters")
    vectors = unit(len(images), 1)
    with IndexWriter(str(folder), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        contents = [(sha(number), 0, *size) for number, (_, size) in enumerate(images)]
        states = [
            FileState(root, SourceFile("/pictures", f"{number}.jpg", 1, 1), sha(number), metadata=known)
            for number, (known, _) in enumerate(images)
        ]
        writer.commit(contents, vectors, states)
    asked = unit(1, 2)
    with ImageIndex(str(folder)) as index:
        found = index.search(asked, len(images), filters=filters)[0]
        everything = index.search(asked, len(images))[0]
    expected = [
        record.sha256
        for record, _ in everything
        if all(passes(filter, *images[int(record.paths[0].split("/")[-1][:-4])]) for filter in filters)
    ]
    assert [record.sha256 for record, _ in found] == expected
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


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
