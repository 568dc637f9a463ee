"""What must hold of an index, whatever happened to it: read back and compared with the states it may be in."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

import numpy as np

from imgsearch.index.ann.scan import exact_scores
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import row_crc
from support.fakes import sha
from support.faults.workload import DIM, ROOT, State, row_of


def stored(content: str) -> np.ndarray:
    """Return the row (1, DIM) float16 that a content must have on disk."""
    return row_of(content).astype("<f2")[None]


def files_of(index: ImageIndex) -> dict[str, bytes | None]:
    """Return the content of every file below ROOT that the index knows."""
    return {
        row.path: row.content
        for root in index.catalog.roots()
        if root.path == ROOT
        for row in index.catalog.files(root.id)
    }


def check(folder: str, allowed: Sequence[State]) -> int:
    """Open the index in ``folder`` and look at everything; return which of the ``allowed`` states it is in.

    Raises AssertionError for what is wrong in it, and whatever the index itself raises.
    """
    with ImageIndex(folder) as index:
        have = files_of(index)
        wanted = [{path: sha(name) if name else None for path, name in state.items()} for state in allowed]
        assert have in wanted, f"a state that was never committed: {difference(have, wanted[-1])}"
        number = wanted.index(have)
        check_rows(index, allowed)
        check_counts(index, allowed[number])
        check_search(index, allowed[number])
    check_database(index.catalog.path)
    return number


def difference(have: dict[str, bytes | None], wanted: dict[str, bytes | None]) -> str:
    """Say how two states differ."""
    lost, more = sorted(wanted.keys() - have), sorted(have.keys() - wanted)
    other = sorted(path for path in have.keys() & wanted if have[path] != wanted[path])
    return f"against the newest allowed, lost {lost[:5]} ({len(lost)}), more {more[:5]}, other content {other[:5]}"


def check_rows(index: ImageIndex, states: Sequence[State]) -> None:
    """Every file has its content's own vector, and every committed row its checksum."""
    names = {sha(name): name for state in states for name in state.values() if name}
    for content in files_of(index).values():
        if content is not None:
            found = index.vector(content)
            assert found is not None, f"{names[content]} has a file and no vector"
            assert np.array_equal(found, stored(names[content]).astype(np.float32)), names[content]
    with index.catalog.transaction("DEFERRED") as db:
        places = db.execute("SELECT segment, row, crc FROM content").fetchall()
        counts = dict(index.catalog.segments())
    for segment, row, crc in places:
        held = index.snapshot.segment(segment, counts[segment])
        assert row_crc(held.take(np.array([row]))[0]) == crc, (segment, row)


# What triggers keep, beside what it must be.
_KEPT = {
    "content.files": (
        "SELECT sha256, files FROM content",
        "SELECT sha256, (SELECT count(*) FROM file WHERE content = sha256) FROM content",
    ),
    "tally": (
        "SELECT reason, files FROM tally WHERE files <> 0",
        "SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1",
    ),
    "deleted": (
        "SELECT segment, row FROM dead",
        "WITH RECURSIVE every (segment, row, rows) AS (SELECT id, 0, rows FROM segment WHERE rows > 0 "
        "UNION ALL SELECT segment, row + 1, rows FROM every WHERE row + 1 < rows) "
        "SELECT segment, row FROM every WHERE NOT EXISTS (SELECT 1 FROM content JOIN file "
        "ON file.content = sha256 WHERE content.segment = every.segment AND content.row = every.row)",
    ),
}


def check_counts(index: ImageIndex, state: State) -> None:
    """The counts are those of the files, and what is kept of them says the same."""
    contents = [name for name in state.values() if name]
    skipped = {"corrupt": len(state) - len(contents)} if len(state) > len(contents) else {}
    assert index.catalog.counts() == (len(contents), len(set(contents)), skipped)
    with index.catalog.transaction("DEFERRED") as db:
        for what, (kept, true) in _KEPT.items():
            assert sorted(db.execute(kept)) == sorted(db.execute(true)), what


def check_search(index: ImageIndex, state: State) -> None:
    """A search finds the nearest contents, each with all its files and its exact score."""
    files: dict[str, list[str]] = {}
    for path, name in state.items():
        if name:
            files.setdefault(name, []).append(f"{ROOT}/{path}")
    names = sorted(files)
    asked = [row_of(name) for name in [*names[:1], *names[-1:], "a stranger"]]
    rows = np.concatenate([stored(name) for name in names]) if names else np.empty((0, DIM), "<f2")
    answers = [*index.search(np.stack(asked), 5), *index.search(np.stack(asked), 5, exact=True)]
    for query, hits in zip([*asked, *asked], answers, strict=True):
        scores = exact_scores(rows, query)
        best = np.sort(scores)[::-1][:5]
        assert np.array_equal([score for _, score in hits], best)
        known = {sha(name): (name, score) for name, score in zip(names, scores.tolist(), strict=True)}
        for record, score in hits:
            name, exact = known[record.sha256]
            assert (sorted(record.paths), score) == (sorted(files[name]), exact)
        assert max(Counter(record.sha256 for record, _ in hits).values(), default=1) == 1


def check_database(path: str) -> None:
    """SQLite finds its file sound, and every reference leads somewhere."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        db.close()
