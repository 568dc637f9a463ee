"""The scan over the segments answers as plain arithmetic over all rows does."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imgsearch.index.ann import rabitq, scan
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.scan import exact_scores, scan_prefix, scan_rows
from imgsearch.index.segments import Rows
from imgsearch.types import Vectors
from support.fakes import unit


def brute(rows: Rows, queries: Vectors, dim: int) -> np.ndarray:
    """Return the cosines (queries, rows) in float64."""
    a, b = queries[:, :dim].astype(np.float64), rows[:, :dim].astype(np.float64)
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


@dataclass
class Held:
    """A segment in memory."""

    rows: Rows

    @property
    def dim(self) -> int:
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        return self.rows[rows]

    def read(self, start: int, stop: int) -> Rows:
        return self.rows[start:stop]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, Rows]]:
        for first in range(start, stop, 50):
            yield first, self.rows[first : min(first + 50, stop)]


def cut(rows: Rows, cuts: list[int]) -> tuple[list[ann.SegmentView], NDArray[np.int64]]:
    """Return rows as segments cut at some places, and where each begins."""
    pieces = np.split(rows, sorted(min(place, len(rows)) for place in cuts))
    return [ann.SegmentView(Held(piece)) for piece in pieces], np.cumsum([0, *map(len, pieces)])[:-1]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 60),
    dim=st.sampled_from([2, 8, 13, 64]),
    prefix=st.integers(1, 64) | st.none(),
    k=st.integers(1, 70),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    kept=st.none() | st.integers(0, 100),
    seed=st.integers(0, 1000),
)
def test_the_nearest_rows_are_those_of_a_full_comparison(
    n: int, dim: int, prefix: int | None, k: int, cuts: list[int], kept: int | None, seed: int
) -> None:
    """Over any segments and any filter, the k rows with the largest cosines are found, or all if there are fewer."""
    prefix = min(prefix, dim) if prefix else None
    rows, query = unit(n, seed, dim).astype(np.float16), unit(1, seed + 1, dim)
    views, starts = cut(rows, cuts)
    mask = np.ones(n, bool) if kept is None else np.random.default_rng(seed).integers(0, 100, n) < kept
    allowed = (
        None
        if kept is None
        else [mask[start : start + len(view.segment)] for start, view in zip(starts, views, strict=True)]
    )
    found = ann.nearest(views, query[0], k, dim=prefix, allowed=allowed)
    assert found.scores.shape == found.view.shape == found.row.shape == (min(k, int(mask.sum())),)
    wanted = brute(rows, query, prefix or dim)[0]
    places = starts[found.view] + found.row
    assert len(set(places.tolist())) == len(places)
    assert mask[places].all()
    best = np.sort(wanted[mask])[::-1][:k]
    np.testing.assert_allclose(wanted[places], best, atol=2e-3)
    # The reported score is over rows as they are stored, whose length is 1 up to float16.
    np.testing.assert_allclose(found.scores, best, atol=2e-3)


@pytest.mark.parametrize("codes", [2, 5, 4096])
@pytest.mark.parametrize("prefix", [None, 5])
@pytest.mark.parametrize("k", [1, 3, 7, 40])
def test_ties_push_nothing_better_out(
    monkeypatch: pytest.MonkeyPatch, codes: int, prefix: int | None, k: int
) -> None:
    """Among many equal rows the best kinds come first, each row once, the same ones every time."""
    monkeypatch.setattr(scan, "_CODES", codes)
    kinds = unit(3, 5, 8).astype(np.float16)
    choice = np.random.default_rng(3).integers(0, 3, 40)
    rows = kinds[choice]
    query = kinds[1:2].astype(np.float32)
    order = np.lexsort((np.arange(40), -brute(kinds, query, prefix or 8)[0][choice]))
    views, starts = cut(rows, [7, 7, 30])
    found = ann.nearest(views, query[0], k, dim=prefix)
    places = starts[found.view] + found.row
    assert choice[places].tolist() == choice[order[:k]].tolist()
    assert len(set(places.tolist())) == k
    again = ann.nearest(views, query[0], k, dim=prefix)
    assert np.array_equal(places, starts[again.view] + again.row)


@pytest.mark.parametrize("prefix", [None, 8])
def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, prefix: int | None) -> None:
    """Handing the rows over in small blocks, from several threads, finds the same as all at once."""
    rows, query = unit(500, 1, 32).astype(np.float16), unit(1, 2, 32)[0]
    views, _ = cut(rows, [])
    whole = ann.nearest(views, query, 9, dim=prefix)
    monkeypatch.setattr(scan, "_CODES", 7)
    monkeypatch.setattr(ann, "_STRETCH", 64)
    small = ann.nearest(views, query, 9, dim=prefix)
    assert np.array_equal(whole.row, small.row)
    np.testing.assert_allclose(whole.scores, small.scores, atol=1e-6)


def test_a_search_and_a_build_leave_the_threads_of_others_alone() -> None:
    """FAISS is kept to one thread and the count that torch may share with it is put back, whatever it was."""
    import faiss

    rows = unit(300, 1, 32).astype(np.float16)
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(2)
        made = rabitq.build(Held(rows))
        assert made is not None
        assert faiss.omp_get_max_threads() == 2
        made.shortlist(unit(1, 2, 32), 5)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("queries", [1, 20])
def test_many_questions_at_once_find_what_each_finds_alone(queries: int) -> None:
    """A batch of questions, compared by a matrix product, has the answers of one at a time."""
    rows, asked = unit(300, 1, 32).astype(np.float16), unit(queries, 2, 32)
    scores, ids = scan.scan_rows(rows, asked, 7)
    wanted = asked @ rows.astype(np.float32).T
    assert np.array_equal(ids, np.argsort(-wanted, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, ids, 1), atol=1e-5)


def test_nothing_stored_is_nothing_found() -> None:
    """No segment, or only empty ones, gives an empty answer."""
    for views in ([], cut(np.empty((0, 8), np.float16), [])[0]):
        assert len(ann.nearest(views, unit(1, dim=8)[0], 5).row) == 0


# ---- codes ------------------------------------------------------------------------------------------------------


def pictures(n: int, dim: int, seed: int = 0) -> Vectors:
    """Return (n, dim) unit rows in clusters, with a variance that falls along the dimensions, as embeddings have."""
    rng = np.random.default_rng(seed)
    spread = np.linspace(1, 0.1, dim, dtype=np.float32)
    centres = np.random.default_rng(99).standard_normal((50, dim))
    rows = (centres[rng.integers(0, 50, n)] + 0.7 * rng.standard_normal((n, dim))) * spread
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("dim", [48, 192, 256])
@pytest.mark.parametrize("nlist", [1, 8])
def test_codes_and_a_rerank_find_what_the_exact_scan_finds(dim: int, nlist: int) -> None:
    """A shortlist by codes, compared exactly, holds at least 99 % of the ten nearest, whatever the dimension."""
    rows = pictures(16500, dim).astype(np.float16)
    made = rabitq.build(Held(rows), nlist)
    assert made is not None
    assert made.nlist == nlist
    views = [ann.SegmentView(Held(rows), made)]
    asked = np.concatenate([rows[:10].astype(np.float32), pictures(10, dim, seed=1)])
    hits = 0
    for query in asked:
        fast = ann.nearest(views, query, 10, shortlist=ann.shortlist_for(10, dim))
        slow = ann.nearest(views, query, 10, exact=True)
        assert (fast.strategy.name, slow.strategy.name) == ("codes", "exact")
        hits += len(set(fast.row.tolist()) & set(slow.row.tolist()))
        same = np.isin(fast.row, slow.row)
        assert set(fast.scores[same].round(5)) <= set(slow.scores.round(5))
    assert hits >= 0.99 * 10 * len(asked)


def test_rows_beyond_the_codes_are_scanned() -> None:
    """Rows added after the codes were made are found all the same."""
    rows = pictures(20000, 64).astype(np.float16)
    views = [ann.SegmentView(Held(rows), rabitq.build(Held(rows[:19000])))]
    for row in (0, 18999, 19000, 19999):
        found = ann.nearest(views, rows[row].astype(np.float32), 3)
        assert found.row[0] == row
        assert "19,000 of 20,000" in found.strategy.reason


@pytest.mark.parametrize("share", [0.9, 0.001])
def test_a_filter_holds_on_every_rung(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """With a filter, codes give only rows that it lets through, and a very selective one is compared exactly."""
    monkeypatch.setattr(ann, "EXACT_ROWS", 1000)
    rows = pictures(20000, 64).astype(np.float16)
    mask = np.random.default_rng(0).random(20000) < share
    views = [ann.SegmentView(Held(rows), rabitq.build(Held(rows)))]
    query = pictures(1, 64, seed=1)[0]
    found = ann.nearest(views, query, 10, shortlist=2000, allowed=[mask])
    assert found.strategy.name == ("codes" if share > 0.5 else "selected")
    wanted = np.where(mask, rows.astype(np.float32) @ query, -np.inf)
    k = min(10, int(mask.sum()))
    assert found.row.tolist() == np.argsort(-wanted)[:k].tolist()


def test_more_hits_than_codes_can_shorten_are_found_exactly() -> None:
    """Asking for a good part of the rows goes to the exact scan, and all of them come back."""
    rows = pictures(3000, 64).astype(np.float16)
    views = [ann.SegmentView(Held(rows), rabitq.build(Held(rows)))]
    found = ann.nearest(views, pictures(1, 64, seed=1)[0], 3000, shortlist=150_000)
    assert found.strategy.name == "exact"
    assert sorted(found.row.tolist()) == list(range(3000))


def test_a_shortlist_takes_no_more_memory_than_there_are_rows() -> None:
    """A shortlist of any length, as a large -n asks for, finds what is there."""
    rows = unit(50).astype(np.float16)
    views, _ = cut(rows, [])
    found = ann.nearest(views, rows[7].astype(np.float32), 3, shortlist=10**12)
    assert found.row[0] == 7


def test_codes_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    """Codes that were written and read give the same shortlists."""
    rows = pictures(3000, 64).astype(np.float16)
    made = rabitq.build(Held(rows), 4)
    assert made is not None
    size, crc = rabitq.write(made, str(tmp_path / "x"), os.fsync)
    assert (tmp_path / "x").stat().st_size == size
    back = rabitq.load(str(tmp_path / "x"), 64, 3000, 4, made.nprobe, size, crc)
    for before, after in zip(made.shortlist(rows[:1], 100), back.shortlist(rows[:1], 100), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "other"])
def test_damaged_codes_are_refused(tmp_path: Path, damage: str) -> None:
    """A file of codes that is not byte for byte what was written is not handed to FAISS at all."""
    rows = pictures(3000, 64).astype(np.float16)
    made = rabitq.build(Held(rows))
    assert made is not None
    path = tmp_path / "x"
    size, crc = rabitq.write(made, str(path), os.fsync)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "flipped":
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "gone":
        path.unlink()
    with pytest.raises(rabitq.CodesError, match=str(path)):
        rabitq.load(str(path), 64, 2999 if damage == "other" else 3000, 1, 1, size, crc)


@pytest.mark.parametrize("kind", ["flat", "other list", "other dim", "no index"])
def test_codes_of_another_kind_are_refused_behind_a_right_checksum(tmp_path: Path, kind: str) -> None:
    """What somebody has put in the place of codes, with a checksum for it, is not searched."""
    path, dim = tmp_path / "x", 64
    index: Any = faiss.IndexFlatIP(dim)
    if kind.startswith("other"):
        dim = 64 if kind == "other list" else 32
        made = rabitq.build(Held(pictures(300, dim).astype(np.float16)), 2 if kind == "other list" else 1)
        assert made is not None
        index = made.index
    else:
        index.add(pictures(300, dim))
    faiss.write_index(index, str(path))
    if kind == "no index":
        path.write_bytes(b"Iwrn" + b"\xff" * 500)
    data = path.read_bytes()
    with pytest.raises(rabitq.CodesError, match=str(path)):
        rabitq.load(str(path), 64, 300, 1, 1, len(data), zlib.crc32(data))


def test_what_is_no_number_is_never_among_the_nearest() -> None:
    """Rows that are not finite are passed over by every exact scan, one query at a time or many."""
    rows = unit(50, 1, 16).astype(np.float16)
    rows[:40] = np.nan
    for count in (1, 9):
        for look in (scan_rows, scan_prefix):
            scores, found = look(rows, unit(count, 2, 16), 20)
            assert np.isfinite(scores[:, :10]).all()
            assert set(found[:, :10].ravel()) == set(range(40, 50))
            assert (found[:, 10:] == -1).all()


def test_a_build_stops_when_it_is_told_to() -> None:
    """A build that is told to stop gives nothing."""
    assert rabitq.build(Held(pictures(3000, 64).astype(np.float16)), stop=lambda: True) is None


def test_codes_that_can_not_be_written_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses a byte of the file raises OSError, and not something of FAISS's."""
    made = rabitq.build(Held(pictures(3000, 64).astype(np.float16)))
    assert made is not None
    monkeypatch.setattr(rabitq, "create_own", lambda path: os.open(path, os.O_WRONLY))
    with pytest.raises(OSError, match="No space left"):
        rabitq.write(made, "/dev/full", os.fsync)


def test_exact_scores_are_cosines_in_double_precision() -> None:
    """The figure beside a hit is the cosine of the stored row with the question, also of prefixes."""
    rows, query = unit(20, 1, 16).astype(np.float16), unit(1, 2, 16)
    for dim in (None, 16, 5, 1):
        np.testing.assert_allclose(
            exact_scores(rows, query[0], dim), brute(rows, query, dim or 16)[0], atol=1e-12
        )


def test_equal_rows_have_equal_scores_wherever_they_stand() -> None:
    """The same picture has the very same score in any row and beside any other."""
    rows = np.repeat(unit(1, 1, 64).astype(np.float16), 5, axis=0)
    query = unit(1, 2, 64)[0]
    together = exact_scores(rows, query)
    alone = exact_scores(rows[3:4], query)
    assert set(together.tolist()) == set(alone.tolist())


def test_a_zero_row_scores_nothing() -> None:
    """A row of zeros, or a prefix of zeros, has cosine 0 and never NaN."""
    rows = np.zeros((2, 8), np.float16)
    rows[1, 7] = 1
    query = unit(1, 1, 8)
    assert exact_scores(rows, query[0], 4).tolist() == [0, 0]
    found = ann.nearest([ann.SegmentView(Held(rows))], query[0], 2, dim=4)
    assert found.scores.tolist() == [0, 0]
