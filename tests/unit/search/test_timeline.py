"""Images without a query: each once, in some order, and counted by month so that the counts fit the list."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.index.metadata import collect
from imgsearch.index.metadata.filters import Camera
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.search.listing import SORTS, ListOptions
from imgsearch.search.timeline import count_months, list_contents
from imgsearch.types import Metadata, SourceFile
from support.fakes import sha, spec, unit

DATES = st.one_of(
    st.none(),
    st.datetimes(datetime(2022, 11, 1), datetime(2023, 2, 1)),
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
)
IMAGES = st.lists(st.tuples(DATES, st.integers(1, 3), st.booleans()), min_size=1, max_size=12)


def make(folder: Path, images: list[tuple[datetime | None, int, bool]], columns: int) -> None:
    """Index images, each with a date, so many files, and maybe a camera; of the first some have columns."""
    with IndexWriter(str(folder), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        contents, files = [], []
        for number, (taken, copies, with_camera) in enumerate(images):
            contents.append((sha(number), 0, 4, 3))
            known = Metadata(
                taken=taken, taken_from="image" if taken else "", model="X-T5" if with_camera else ""
            )
            for copy in range(copies):
                source = SourceFile("/pictures", f"{9 - copy}/{number:02}.jpg", 1, 1)
                files.append(FileState(root, source, sha(number), metadata=known))
        writer.commit(contents, unit(len(contents)), files)
        if columns:
            collect.build(writer.catalog.database, writer.data, 1, min(columns, len(contents)))


@settings(max_examples=15, deadline=None)
@given(IMAGES, st.integers(0, 12), st.booleans(), st.data())
def test_lists_and_months_agree(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[datetime | None, int, bool]],
    columns: int,
    filtered: bool,
    data: st.DataObject,
) -> None:
    """Every image that passes is there once in each order, parts fit together, and months begin where they say."""
    folder = tmp_path_factory.mktemp("index") / "index"
    make(folder, images, columns)
    filters = (Camera("x-t5"),) if filtered else ()
    rows = data.draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=1, max_size=12)))
    among = None if rows is None else {1: np.array(rows)}
    wanted = {
        number
        for number, (_, _, with_camera) in enumerate(images)
        if (with_camera or not filtered) and (rows is None or (number < len(rows) and rows[number]))
    }
    numbers = {sha(number): number for number in range(len(images))}
    with ImageIndex(str(folder)) as index:
        for sort in SORTS:
            whole = list_contents(index, ListOptions(filters, sort=sort, seed=3), among)
            found = [numbers[one.record.sha256] for one in whole.images]
            assert sorted(found) == sorted(wanted)
            assert whole.total == len(wanted)
            cut = data.draw(st.integers(0, len(images)))
            for n, offset in ((cut, 0), (None, cut)):
                if n != 0:
                    part = list_contents(
                        index, ListOptions(filters, sort=sort, seed=3, n=n, offset=offset), among
                    )
                    assert part.images == whole.images[offset:][:n]
                    assert part.total == whole.total
            dates = [images[number][0] for number in found]
            known = [date for date in dates if date]
            if sort in ("newest", "oldest"):
                assert known == sorted(known, reverse=sort == "newest")
                assert dates[: len(known)] == known
            if sort == "added":
                assert found == sorted(found, reverse=True)
            assert all(len(one.record.paths) == images[numbers[one.record.sha256]][1] for one in whole.images)
        newest = [
            numbers[one.record.sha256] for one in list_contents(index, ListOptions(filters), among).images
        ]
        months = count_months(index, filters, among=among)
        names = [date and f"{date:%Y-%m}".rjust(7, "0") for date in (images[number][0] for number in newest)]
        assert {month.month: month.count for month in months} == Counter(names)
        assert [month.offset for month in months] == [names.index(month.month) for month in months]


def test_pages_of_a_file_are_one_image_there(tmp_path: Path) -> None:
    """The first of them; among some rows the first that is one of these."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        files = [FileState(root, SourceFile("/pictures", "scan.tif", 1, 1), sha(0))]
        writer.commit([(sha(0), page, 4, 3) for page in range(3)], unit(3), files)
    with ImageIndex(str(tmp_path)) as index:
        (first,) = list_contents(index, ListOptions()).images
        assert first.record.page == 0
        (second,) = list_contents(index, ListOptions(), {1: np.array([False, True, True])}).images
        assert second.record.page == 1


def test_an_empty_index_has_no_months(tmp_path: Path) -> None:
    """Neither has it images."""
    with IndexWriter(str(tmp_path), spec()):
        pass
    with ImageIndex(str(tmp_path)) as index:
        assert count_months(index) == []
        assert list_contents(index, ListOptions()).total == 0
