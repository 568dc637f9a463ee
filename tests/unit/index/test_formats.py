"""What an index keeps along equals what counting gives, earlier formats are brought up to date, newer ones refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import tempfile
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import ImgsearchError, IndexMismatch
from imgsearch.index import database, manifest, segments
from imgsearch.index.catalog import Catalog
from imgsearch.index.database import MIGRATIONS, Database
from imgsearch.index.metadata import passing
from imgsearch.index.metadata.file_filters import Below, Place
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import pair_row
from imgsearch.index.writer import IndexWriter
from support import fakes
from support.cli import imgsearch
from support.fakes import DIM, FakeModel, paint, run, sha, spec, state, unit
from support.oracle import forget

fake_model = fakes.fake_model

FORMATS = Path(__file__).parent / "formats"


@pytest.fixture
def old(tmp_path: Path) -> str:
    """Give a copy of an index of format 1: 12 pictures, a copy, a broken file, one pruned and one removed."""
    return shutil.copytree(FORMATS / "1", tmp_path / "index").as_posix()


def dump(folder: str) -> list[str]:
    """Return the whole catalogue as SQL."""
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db:
        return list(db.iterdump())


def version(folder: str) -> int:
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def counted(catalog: Catalog) -> dict[str, Any]:
    """Return what the catalogue keeps along, as a full count gives it."""
    ask = catalog.database.connection.execute
    files = dict(ask("SELECT content, count(*) FROM file WHERE content IS NOT NULL GROUP BY 1").fetchall())
    contents = ask("SELECT id, sha256, segment, row FROM content").fetchall()
    alive = {(segment, row) for _, sha256, segment, row in contents if sha256 in files}
    every = {(id, row) for id, rows in ask("SELECT id, rows FROM segment") for row in range(rows)}
    return {
        "tally": dict(ask("SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1").fetchall()),
        "files": {id: files.get(sha256, 0) for id, sha256, _, _ in contents},
        "deleted": every - alive,
        "retained": {(segment, row) for _, sha256, segment, row in contents if sha256 not in files},
    }


def kept(catalog: Catalog) -> dict[str, Any]:
    """Return what the catalogue keeps along."""
    ask = catalog.database.connection.execute
    return {
        "tally": dict(ask("SELECT reason, files FROM tally WHERE files <> 0").fetchall()),
        "files": dict(ask("SELECT id, files FROM content").fetchall()),
        "deleted": set(ask("SELECT segment, row FROM dead").fetchall()),
        "retained": set(ask("SELECT segment, row FROM dead WHERE since > 0").fetchall()),
    }


# ---- earlier formats ------------------------------------------------------------------------------------------


@pytest.fixture(params=[2, 3])
def earlier(old: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the same index in a format that readers read as it is."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", MIGRATIONS[: request.param])
        Database(old, write=True).close()
    return old


def test_a_reader_reads_an_earlier_format_as_it_is(earlier: str) -> None:
    """Searches go on after an upgrade: what the older format does not tell is unknown, and nothing is changed."""
    before = dump(earlier)
    with ImageIndex(earlier) as index:
        assert [(root.path, root.drive) for root in index.catalog.roots()] == [
            ("/pictures", ""),
            ("/mnt/nas", ""),
        ]
        files = [row for root in index.catalog.roots() for row in index.catalog.files(root.id)]
        assert len(files) == 12
        assert {(row.inode, row.ctime_ns) for row in files} == {(0, 0)}
        assert index.catalog.file(1, "3.jpg") in files
        record, score = index.search(unit(12, 1)[3:4], 1)[0][0]
        assert record.paths == ("/mnt/nas/copy of 3.jpg", "/pictures/3.jpg")
        assert score > 0.999
        assert index.catalog.counts() == (11, 10, {"truncated": 1})
        # A writer may bring it up to date at any time.
        with IndexWriter(earlier) as writer:
            assert writer.catalog.database.version == len(MIGRATIONS)
        assert index.catalog.file(1, "3.jpg") in files
        assert len(index.search(unit(12, 1)[3:4], 20)[0]) == 10
    assert dump(earlier) != before


@pytest.mark.parametrize("command", ["status", "verify", "doctor"])
def test_a_command_that_reads_leaves_an_earlier_format_as_it_is(earlier: str, command: str) -> None:
    """No command that only reads refuses the format before this one, or brings it up to date."""
    before = dump(earlier)
    done = imgsearch(command, "--index", earlier)
    assert done.code == 0 or command == "doctor", done.err
    assert "format; update" not in done.out.decode() + done.err
    assert dump(earlier) == before


def test_an_earlier_format_is_asked_through_its_indexes(earlier: str) -> None:
    """What a reader puts over the older tables hides no index: no question reads a table from end to end."""
    with closing(Catalog(earlier)) as catalog:
        ask = catalog.database.connection
        steps: list[str] = []
        ask.set_trace_callback(lambda sql: steps.append(sql))
        catalog.file(1, "3.jpg")
        list(catalog.files(1, "sub"))
        catalog.records([(1, 3)])
        ask.set_trace_callback(None)
        assert len(steps) == 3
        for sql in steps:
            plan = [row[-1] for row in ask.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert not [
                step
                for step in plan
                if step.startswith(("SCAN main.", "SCAN file", "SCAN content", "MATERIALIZE"))
            ], plan


def test_a_reader_says_how_an_older_index_is_brought_up_to_date(old: str) -> None:
    """What may not be written is not migrated: one line says which command does it, and nothing is changed."""
    before = dump(old)
    for command in ("status", "verify"):
        done = imgsearch(command, "--index", old)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert "imgsearch index" in done.err
    assert dump(old) == before
    assert "older format" in imgsearch("doctor", "--index", old).out.decode()


def test_a_writer_brings_format_1_up_to_date(old: str) -> None:
    """The counts are those of a full count; the pruned picture is retained, the removed one's row is deleted."""
    with IndexWriter(old) as writer:
        catalog = writer.catalog
        assert catalog.database.version == len(MIGRATIONS)
        assert kept(catalog) == counted(catalog)
        assert catalog.counts() == (11, 10, {"truncated": 1})
        assert kept(catalog)["retained"] == {(1, 5)}
        assert catalog.deleted_rows(1).tolist() == [5, 7]
        assert catalog.retained() == 1
        assert catalog.ann_files() == {}
        assert [(root.path, root.mount) for root in catalog.roots()] == [
            ("/pictures", "/"),
            ("/mnt/nas", "/mnt/nas"),
        ]
        assert catalog.roots()[0].options == {"exclude": ["raw/"]}
        assert [row.path for row in catalog.files(1)] == sorted(
            (f"{number}.jpg" for number in range(12) if number not in (5, 7)), key=os.fsencode
        )
        assert {row.path: row.error for row in catalog.files(2)} == {
            "copy of 3.jpg": None,
            "broken.jpg": "truncated",
        }
        assert catalog.locate(sha(5)) is not None
        assert catalog.locate(sha(7)) is None
        assert writer.index.created == 1790000000.0


def test_a_migrated_index_answers_as_it_did(old: str) -> None:
    """Every picture with a file is its own nearest with the score of its stored row, and it stays readable."""
    rows = unit(12, 1)
    with IndexWriter(old):
        pass
    with ImageIndex(old) as index:
        assert replace(index.spec, page_pixels=spec().page_pixels) == spec()
        for number, hits in enumerate(index.search(rows, 12)):
            names = [Path(record.paths[-1]).stem for record, _ in hits]
            assert set(names) == {str(name) for name in range(12) if name not in (5, 7)}
            stored = rows.astype(np.float16).astype(np.float64)
            stored /= np.linalg.norm(stored, axis=1, keepdims=True)
            cosines = stored @ (rows[number] / np.linalg.norm(rows[number].astype(np.float64)))
            np.testing.assert_allclose(
                [score for _, score in hits], [cosines[int(n)] for n in names], atol=1e-9
            )
        twice = next(record for record, _ in index.search(rows[3:4], 1)[0])
        assert twice.paths == ("/mnt/nas/copy of 3.jpg", "/pictures/3.jpg")


def test_an_older_index_is_gone_on_with_and_nothing_is_embedded_again(
    old: str,
    tmp_path: Path,
    fake_model: FakeModel,
) -> None:
    """A refresh migrates, finds every file current, and takes only what is new to the model."""
    pictures = tmp_path / "pictures"
    for number in range(12):
        if number not in (5, 7):
            paint(pictures / f"{number}.jpg", (20 * number, 0, 0))
    with closing(sqlite3.connect(os.path.join(old, "catalog.sqlite"))) as db, db:
        db.execute("UPDATE root SET path = ? WHERE id = 1", (os.fsencode(pictures),))
        for path in pictures.iterdir():
            found = path.stat()
            db.execute(
                "UPDATE file SET size = ?, mtime_ns = ? WHERE root = 1 AND path = ?",
                (found.st_size, found.st_mtime_ns, os.fsencode(path.name)),
            )
    result = run(old)
    assert (result.unchanged, result.indexed, result.pruned) == (10, 0, 0)
    assert fake_model.loads == fake_model.embedded == 0
    paint(pictures / "new.png", "red")
    assert run(old).indexed == 1
    assert fake_model.embedded == 1
    assert imgsearch("verify", "--index", old).code == 0


def test_a_repair_of_an_older_index_brings_it_up_to_date(old: str) -> None:
    """It is a writer, too: it migrates before it checks, and finds the index sound."""
    done = imgsearch("verify", "--repair", "--index", old)
    assert done.code == 0
    assert "OK:" in done.err
    assert version(old) == len(MIGRATIONS)


BOUNDARIES = [
    (number, place) for number in range(1, len(MIGRATIONS)) for place in range(len(MIGRATIONS[number]) + 1)
]


@pytest.mark.parametrize(("number", "place"), BOUNDARIES)
def test_a_migration_that_is_broken_off_leaves_the_old_format(
    old: str, number: int, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever statement is the last that runs, the catalogue is as it was, and the next writer migrates it."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", MIGRATIONS[:number])
        Database(old, write=True).close()
    before = dump(old)
    steps = list(MIGRATIONS)
    steps[number] = (*steps[number][:place], "SELECT no_such_function()", *steps[number][place:])
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", tuple(steps))
        with pytest.raises((ImgsearchError, sqlite3.Error)):
            IndexWriter(old)
    assert version(old) == number
    assert dump(old) == before
    with IndexWriter(old) as writer:
        assert kept(writer.catalog) == counted(writer.catalog)
        assert writer.catalog.database.version == len(MIGRATIONS)


# ---- newer formats --------------------------------------------------------------------------------------------


def _newer_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": manifest.FORMAT + 1}))


def _newer_catalogue(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def _newer_segment(folder: Path) -> None:
    fields = struct.pack("<16sII32s", b"imgsearch.f16\0\0\0", 2, DIM, bytes.fromhex(spec().fingerprint))
    header = fields + struct.pack("<I", zlib.crc32(fields))
    with open(folder / "vectors" / "00000001.f16", "r+b") as file:
        file.write(header)


@pytest.mark.parametrize("newer", [_newer_manifest, _newer_catalogue, _newer_segment])
def test_a_newer_format_is_refused(tmp_path: Path, newer: Any) -> None:
    """A manifest, catalogue or segment from a later imgsearch is refused in one line that says to update."""
    folder = str(tmp_path / "index")
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        writer.commit([(sha(1), 0, 1, 1)], unit(1), [state(root, "1.jpg", sha(1))])
    newer(Path(folder))
    for make in (ImageIndex, IndexWriter):
        with pytest.raises(IndexMismatch, match="upgrade imgsearch"):
            make(folder)
    for command in (["status"], ["verify"], ["verify", "--repair"], ["compact"]):
        done = imgsearch(*command, "--index", folder)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert "upgrade imgsearch" in done.err


# ---- what is kept along ---------------------------------------------------------------------------------------

PATHS = st.sampled_from(["a", "b", "c/a", "c/b", "c/d/a"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), PATHS, st.integers(0, 7)),
        st.tuples(st.just("fail"), PATHS, st.sampled_from(["truncated", "corrupt"])),
        st.tuples(st.just("prune"), PATHS, st.none()),
        st.tuples(st.just("remove"), PATHS, st.none()),
        st.tuples(st.just("split"), st.sampled_from(["c", "c/d"]), st.none()),
        st.tuples(st.just("compact"), st.none(), st.sampled_from([0.0, 0.25])),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=15, deadline=None)
@given(steps=STEPS, per_segment=st.integers(2, 5))
def test_what_is_kept_along_equals_a_full_count(steps: list[tuple[str, Any, Any]], per_segment: int) -> None:
    """After whatever is done, files by reason, files of each content and deleted rows are what counting gives."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + per_segment * DIM * 2)
        writer = IndexWriter(folder, spec())
        try:
            writer.catalog.put_root("/pictures", {})
            for kind, what, value in steps:
                if kind == "reopen":
                    writer.close()
                    writer = IndexWriter(folder)
                writer.catalog.database.connection.execute(
                    "PRAGMA synchronous = OFF"
                )  # nothing is cut off here, and it is faster
                _do(writer, kind, what, value)
                assert kept(writer.catalog) == counted(writer.catalog)
        finally:
            writer.close()


def _do(writer: IndexWriter, kind: str, path: Any, value: Any) -> None:
    catalog = writer.catalog
    roots = {root.path: root.id for root in catalog.roots()}
    if kind == "commit":
        new = [] if catalog.locate(sha(value)) else [(sha(value), 0, 4, 3)]
        owner = max((r for r in roots if f"/pictures/{path}".startswith(r + "/")), key=len)
        name = os.path.relpath(f"/pictures/{path}", owner)
        writer.commit(new, unit(len(new), value), [state(roots[owner], name, sha(value))])
    elif kind == "fail":
        writer.commit([], unit(0), [state(1, path, None, error=value)])
    elif kind in ("prune", "remove"):
        ids = [row.id for row in catalog.files(1, path)]
        forget(catalog, ids) if kind == "remove" else catalog.drop_files(ids)
    elif kind == "split":
        inner = catalog.put_root(f"/pictures/{path}", {})
        if inner != 1:
            catalog.split_root(1, path, inner, {7: 0})
    elif kind == "compact":
        writer.compact(value)


# ---- no full scans --------------------------------------------------------------------------------------------


def test_the_frequent_questions_are_answered_by_indexes(tmp_path: Path) -> None:
    """Counts, the diff of an unchanged tree, a page of hits, a filter and compaction scan no files and no contents."""
    asked: list[str] = []
    with IndexWriter(str(tmp_path / "index"), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        names = [f"{number}.jpg" for number in range(40)]
        writer.commit(
            [(sha(name), 0, 1, 1) for name in names],
            unit(40),
            [state(root, name, sha(name)) for name in names],
        )
        writer.catalog.drop_files([3])
        catalog = writer.catalog
        catalog.database.connection.execute("ANALYZE")
        catalog.database.connection.set_trace_callback(asked.append)
        assert catalog.counts()[0] == 39
        assert catalog.retained() == 1
        assert catalog.file(root, "7.jpg") is not None
        assert len(list(catalog.files(root))) == 39
        assert len(list(catalog.files(root, "7.jpg"))) == 1
        assert catalog.records([(1, 7)])
        for path, count in (("", 39), ("7.jpg", 1)):
            below = Below((Place(root, path),), ())
            assert len(list(passing.ask(catalog.database, pair_row, "segment, row", [below]))) == count
        assert catalog.deleted_rows(1).tolist() == [2]
        assert len(catalog.live_rows(1, 0, 100)) == 39
        assert len(catalog.live_rows(1, 0, 100, before=0.0)) == 40
        assert catalog.locate(sha("7.jpg")) is not None
        catalog.database.connection.set_trace_callback(None)
        scans = {
            (sql, step)
            for sql in asked
            if sql.startswith("SELECT")
            for *_, step in catalog.database.connection.execute(f"EXPLAIN QUERY PLAN {sql}")
            if step.startswith(("SCAN file", "SCAN content"))
        }
    assert len(asked) >= 12
    assert scans == set()
