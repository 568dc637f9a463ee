"""verify names everything that is damaged and what it costs; --repair leaves a sound index that finds everything."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import CheckpointError, IndexLocked, IndexMissing, StorageError
from imgsearch.index import manifest, segments
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.catalog import Catalog
from imgsearch.index.database import Kind
from imgsearch.index.integrity import Damage
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import HEADER_BYTES
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.maintenance import verify
from imgsearch.tools.maintenance.verify import IntegrityReport, repair_index, verify_index
from support import fakes
from support.cli import imgsearch
from support.fakes import COLOURS, DIM, FakeModel, Notes, paint, run, sha, spec, state, unit, vector
from support.oracle import forget

fake_model = fakes.fake_model

WIDTH = 2 * DIM
FIRST = "vectors/00000001.f16"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder of one picture of each colour, and a copy of the red one."""
    for colour in COLOURS:
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    shutil.copy(tmp_path / "photos" / "red.png", tmp_path / "photos" / "rosso.png")
    return tmp_path / "photos"


@pytest.fixture
def index(photos: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an index of the pictures, four vectors a segment."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", HEADER_BYTES + 4 * WIDTH)
    run(tmp_path / "index", photos, batch_size=2)
    fake_model.embedded = 0
    return tmp_path / "index"


def flip(path: Path, offset: int, length: int = 1) -> None:
    """Invert some bytes of a file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        found = file.read(length)
        file.seek(offset)
        file.write(bytes(255 - byte for byte in found))


def sql(index: Path, *statements: str) -> None:
    """Change the catalogue behind its back, with its triggers out of the way."""
    with closing(sqlite3.connect(index / "catalog.sqlite")) as db, db:
        for name, made in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
            statements = (*statements, made)
        for statement in statements:
            db.execute(statement)


def place_of(index: Path, colour: str) -> tuple[Path, int]:
    """Return the segment file of a picture's vector, and where in it the vector begins."""
    with ImageIndex(str(index)) as opened:
        root = opened.catalog.roots()[0]
        row = opened.catalog.file(root.id, f"{colour}.png")
        assert row is not None
        assert row.content is not None
        found = opened.catalog.locate(row.content)
        assert found is not None
    return index / "vectors" / f"{found.segment:08d}.f16", HEADER_BYTES + found.row * WIDTH


def finds_everything(index: Path) -> None:
    """Every colour is its own best hit, and the red one has its copy."""
    with ImageIndex(str(index)) as opened:
        for colour, value in COLOURS.items():
            record, score = opened.search(vector(value), 1)[0][0]
            assert score > 0.98
            assert os.path.basename(record.paths[0]) == f"{colour}.png"
        assert len(opened.search(vector(COLOURS["red"]), 1)[0][0][0].paths) == 2


def kinds(report: IntegrityReport) -> list[str]:
    return [damage.kind for damage in report.damages]


def names(report: IntegrityReport) -> list[str]:
    return sorted(os.path.basename(path) for path in report.lost_paths)


# ---- a sound index --------------------------------------------------------------------------------------------


def test_a_sound_index_is_sound_and_untouched(index: Path) -> None:
    """Everything is read, nothing is found and nothing is written, also with pictures that wait or are forgotten."""
    with IndexWriter(str(index)) as writer:
        rows = list(writer.catalog.files(1))
        writer.catalog.drop_files([rows[0].id])
        forget(writer.catalog, [rows[1].id])
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    done = imgsearch("verify", "--index", index)
    assert done.code == 0
    assert done.out == b""
    assert "9 embeddings read, all checksums match" in done.err
    for path, was in before.items():
        if not path.name.endswith("-shm"):
            assert path.read_bytes() == was
    repaired = imgsearch("verify", "--repair", "--index", index)
    assert repaired.code == 0
    assert "OK:" in repaired.err


def test_where_there_is_no_index_it_says_so(tmp_path: Path) -> None:
    """verify of nothing is one line, and makes nothing."""
    for flags in ((), ("--repair",)):
        done = imgsearch("verify", *flags, "--index", tmp_path / "none")
        assert done.code == 2
        assert "there is no index" in done.err
    with pytest.raises(IndexMissing):
        repair_index(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_an_empty_index_is_sound(tmp_path: Path) -> None:
    """An index without a picture has nothing that could be damaged."""
    with IndexWriter(str(tmp_path), spec()):
        pass
    assert verify_index(str(tmp_path)).damages == []


# ---- what is named --------------------------------------------------------------------------------------------


def test_a_damaged_vector_costs_its_picture(index: Path, photos: Path) -> None:
    """The segment, the row and every file with that picture are named; JSON says the same."""
    path, start = place_of(index, "red")
    flip(path, start + 5)
    done = imgsearch("verify", "--index", index)
    assert done.code == 2
    assert done.lines == [str(photos / "red.png"), str(photos / "rosso.png")]
    assert f"damaged: {path}" in done.err
    assert "1 of" in done.err
    assert done.err.splitlines()[-1].endswith(f"imgsearch verify --repair --index {index}")
    objects = imgsearch("verify", "--json", "--index", index).objects
    assert [(one["damaged"], one["path"]) for one in objects] == [
        (str(path), str(photos / name)) for name in ("red.png", "rosso.png")
    ]


def _zero(index: Path) -> None:
    """Let a vector be zeros with a checksum that fits."""
    path, start = place_of(index, "blue")
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(WIDTH))
    crc = segments.row_crc(np.zeros(DIM, np.float16))
    number, row = int(path.stem), (start - HEADER_BYTES) // WIDTH
    sql(index, f"UPDATE content SET crc = {crc} WHERE segment = {number} AND row = {row}")


def _not_a_number(index: Path) -> None:
    path, start = place_of(index, "blue")
    bad = np.full(DIM, np.nan, np.float16)
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bad.tobytes())
    number, row = int(path.stem), (start - HEADER_BYTES) // WIDTH
    sql(index, f"UPDATE content SET crc = {segments.row_crc(bad)} WHERE segment = {number} AND row = {row}")


def _bad_row(index: Path) -> None:
    path, start = place_of(index, "green")
    flip(path, start, WIDTH)


def _two_bad_rows(index: Path) -> None:
    flip(index / FIRST, HEADER_BYTES, 2 * WIDTH)


def _bad_header(index: Path) -> None:
    flip(index / FIRST, 20, 30)


def _cut(index: Path) -> None:
    os.truncate(index / FIRST, HEADER_BYTES + WIDTH + 3)


def _cut_into_the_header(index: Path) -> None:
    os.truncate(index / FIRST, 77)


def _last_cut(index: Path) -> None:
    last = max((index / "vectors").iterdir())
    os.truncate(last, os.path.getsize(last) - 1)


def _missing(index: Path) -> None:
    (index / FIRST).unlink()


def _last_missing(index: Path) -> None:
    max((index / "vectors").iterdir()).unlink()


def _all_missing(index: Path) -> None:
    shutil.rmtree(index / "vectors")


def _everything_bad(index: Path) -> None:
    size = os.path.getsize(index / FIRST)
    (index / FIRST).write_bytes(os.urandom(size))


def _wrong_tally(index: Path) -> None:
    sql(index, "UPDATE tally SET files = files + 1")


def _wrong_files(index: Path) -> None:
    sql(index, "UPDATE content SET files = 0 WHERE id = 2", "UPDATE content SET files = 5 WHERE id = 3")


def _wrongly_dead(index: Path) -> None:
    sql(
        index,
        "INSERT INTO dead VALUES (1, 0, 0)",
        "INSERT INTO dead VALUES (1, 99, 0)",
        "INSERT INTO dead VALUES (9, 0, 0)",
    )


def _not_dead(index: Path) -> None:
    sql(index, "DELETE FROM file WHERE path = CAST('cyan.png' AS BLOB)", "DELETE FROM dead")


def _outside(index: Path) -> None:
    sql(index, "UPDATE content SET row = 4000 WHERE id = 2")


def _stray_files(index: Path) -> None:
    sql(index, "DELETE FROM content WHERE id = 2", "INSERT INTO dead SELECT 1, 1, 0")


def _manifest_gone(index: Path) -> None:
    (index / "manifest.json").unlink()


def _manifest_bad(index: Path) -> None:
    flip(index / "manifest.json", 40, 9)


def _many(index: Path) -> None:
    for damage in (_bad_row, _bad_header, _last_cut, _wrong_tally, _manifest_bad):
        damage(index)


DAMAGE: dict[Callable[[Path], None], tuple[set[str], int | None]] = {
    _zero: ({"vectors"}, 1),
    _not_a_number: ({"vectors"}, 1),
    _bad_row: ({"vectors"}, 1),
    _two_bad_rows: ({"vectors"}, None),
    _bad_header: ({"header"}, 0),
    _cut: ({"short"}, None),
    _cut_into_the_header: ({"short", "header"}, None),
    _last_cut: ({"short"}, 1),
    _missing: ({"missing"}, None),
    _last_missing: ({"missing"}, None),
    _all_missing: ({"missing"}, len(COLOURS) + 1),
    _everything_bad: ({"header", "vectors"}, None),
    _wrong_tally: ({"counters"}, 0),
    _wrong_files: ({"counters"}, 0),
    _wrongly_dead: ({"counters"}, 0),
    _not_dead: ({"counters"}, 0),
    _outside: ({"misplaced", "counters"}, None),
    _stray_files: ({"files", "counters"}, None),
    _manifest_gone: ({"manifest"}, 0),
    _manifest_bad: ({"manifest"}, 0),
    _many: ({"vectors", "header", "short", "counters", "manifest"}, 2),
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__.strip("_"))
def test_what_is_damaged_is_named_and_repaired(
    index: Path,
    photos: Path,
    fake_model: FakeModel,
    damage: Callable[[Path], None],
) -> None:
    """Each damage is named with what it costs; after a repair the index is sound, complete, and a repair idle."""
    expected, cost = DAMAGE[damage]
    damage(index)
    report = verify_index(str(index))
    assert set(kinds(report)) == expected
    assert cost is None or len(report.lost_paths) == cost
    assert imgsearch("verify", "--index", index).code == 2
    repaired = repair_index(str(index), reporter=Notes())
    assert repaired.left == ()
    assert repaired.report.lost_paths == report.lost_paths
    lost = {name for name in names(report) if name != "rosso.png"}
    assert fake_model.embedded == len(lost)
    after = verify_index(str(index))
    assert after.damages == []
    if damage is not _not_dead:  # there the file is what was taken away
        assert len(after.lost_paths) == 0
        finds_everything(index)
    assert repair_index(str(index)).embedded == 0
    result = run(index, photos)
    assert result.indexed == 0


def test_an_ann_file_that_is_damaged_or_gone_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No picture is lost by it; the repair makes the file again and clears away what nothing names."""
    monkeypatch.setattr(ann, "EXACT_ROWS", 30)
    folder = tmp_path / "index"
    with IndexWriter(str(folder), spec(64)) as writer:
        root = writer.catalog.put_root("/pictures", {})
        writer.commit(
            [(sha(n), 0, 1, 1) for n in range(40)],
            unit(40, dim=64),
            [state(root, f"{n}.jpg", sha(n)) for n in range(40)],
        )
        AnnBuilder(writer.data, writer.spec).finish()
    (path,) = (folder / "faiss").iterdir()
    for damage in (lambda: flip(path, 100), path.unlink, lambda: os.truncate(path, 30)):
        damage()
        (folder / "faiss" / "00000009-12345678.faiss").write_bytes(b"nobody's")
        report = verify_index(str(folder))
        assert kinds(report) == ["ann"]
        assert report.lost_paths == []
        assert [os.path.basename(orphan) for orphan in report.orphans] == ["00000009-12345678.faiss"]
        assert repair_index(str(folder)).report.damages == report.damages
        assert verify_index(str(folder)).damages == []
        assert [found.name for found in (folder / "faiss").iterdir()] == [path.name]


def test_files_that_nothing_names_are_mentioned_and_no_damage(index: Path) -> None:
    """What a killed writer left costs room only; a repair clears it away."""
    (index / "vectors" / "00000077.f16").write_bytes(b"torn")
    (index / "vectors" / "notes.txt").write_text("somebody's own")
    done = imgsearch("verify", "--index", index)
    assert done.code == 0
    assert "00000077.f16" in done.err
    assert "notes.txt" not in done.err
    assert imgsearch("verify", "--repair", "--index", index).code == 0
    assert sorted(path.name for path in (index / "vectors").iterdir())[-1] == "notes.txt"
    assert not (index / "vectors" / "00000077.f16").exists()


# ---- what can't be repaired -------------------------------------------------------------------------------------


def _no_database(index: Path) -> None:
    (index / "catalog.sqlite").write_bytes(b"this is no database" * 1000)


def _no_catalogue(index: Path) -> None:
    (index / "catalog.sqlite").unlink()


def _torn_pages(index: Path) -> None:
    flip(index / "catalog.sqlite", 4096, os.path.getsize(index / "catalog.sqlite") - 4096)


@pytest.mark.parametrize("damage", [_no_database, _no_catalogue, _torn_pages])
def test_a_lost_catalogue_costs_everything_and_says_so(index: Path, damage: Callable[[Path], None]) -> None:
    """How many vectors that is is said, with the command that makes the index anew; nothing is touched."""
    damage(index)
    before = {path: path.read_bytes() for path in index.rglob("*.f16")}
    for flags in ((), ("--repair",)):
        done = imgsearch("verify", *flags, "--index", index)
        assert done.code == 2
        assert done.out == b""
        assert f"its {len(COLOURS)} embeddings" in done.err
        assert "--rebuild" in done.err.splitlines()[-1]
        assert "Traceback" not in done.err
    assert {path: path.read_bytes() for path in index.rglob("*.f16")} == before


def test_a_manifest_without_a_copy_can_not_be_repaired(index: Path) -> None:
    """The vectors are checked all the same, against their segments' headers."""
    sql(index, "DELETE FROM meta WHERE key = 'manifest'")
    _bad_row(index)
    _manifest_gone(index)
    report = verify_index(str(index))
    assert kinds(report) == ["manifest", "vectors"]
    assert names(report) == ["green.png"]
    assert not report.repairable
    done = imgsearch("verify", "--repair", "--index", index)
    assert done.code == 2
    assert "--rebuild" in done.err.splitlines()[-1]


def test_any_flipped_byte_is_found_or_harmless(index: Path) -> None:
    """Wherever a byte of the index changes, verify says so in words or nothing that a search uses has changed."""
    draw = random.Random(4)
    with closing(sqlite3.connect(index / "catalog.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [index / "manifest.json", index / "catalog.sqlite", *(index / "vectors").iterdir()]
    for _ in range(40):
        path = draw.choice(files)
        offset = draw.randrange(path.stat().st_size)
        flip(path, offset)
        done = imgsearch("verify", "--index", index)
        assert done.code in (0, 2)
        if done.code == 0:
            finds_everything(index)
        flip(path, offset)


# ---- repairs --------------------------------------------------------------------------------------------------


def test_a_repair_that_is_broken_off_is_finished_by_the_next_run(
    index: Path,
    photos: Path,
    fake_model: FakeModel,
) -> None:
    """Killed between forgetting and embedding, the index is sound, and `index` embeds what is left."""

    def fail(done: int) -> None:
        raise CheckpointError("the model has gone")

    _bad_row(index)
    fake_model.before = fail
    notes = Notes()
    with pytest.raises(CheckpointError):
        repair_index(str(index), reporter=notes)
    assert f"to index 1 again: index_pictures(folder={str(index)!r})" in notes.text
    assert verify_index(str(index)).damages == []
    fake_model.before = None
    assert run(index, photos).indexed == 1
    finds_everything(index)


@pytest.mark.parametrize("step", range(8))
def test_a_repair_killed_at_any_step_is_repaired_by_the_next(
    index: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of the catalogue's changes was the last, the next repair leaves a sound and complete index."""
    _many(index)
    _missing(index)
    real = verify.repair

    def killed(catalog: Catalog, *arguments: Any) -> None:
        begin, done = catalog.transaction, 0

        def transaction(kind: Kind = "IMMEDIATE") -> object:
            nonlocal done
            done += 1
            if done > step:
                raise KeyboardInterrupt
            return begin(kind)

        catalog.transaction = transaction  # type: ignore[assignment]
        real(catalog, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(verify, "repair", killed)
        try:
            repair_index(str(index))
        except KeyboardInterrupt:
            pass
    repair_index(str(index))
    assert verify_index(str(index)).damages == []
    run(index)
    finds_everything(index)


def test_pictures_that_are_not_there_are_left_to_a_later_run(index: Path, photos: Path) -> None:
    """What lies on a drive that is away can't be embedded now: that is said, and it comes back with its drive."""
    _bad_row(index)
    away = photos.rename(photos.with_name("away"))
    done = imgsearch("verify", "--repair", "--index", index)
    assert done.code == 1
    assert "1 image is not there now" in done.err
    assert verify_index(str(index)).damages == []
    away.rename(photos)
    assert run(index).indexed == 1
    finds_everything(index)


def test_a_repair_touches_no_other_file_of_the_folders(
    index: Path,
    photos: Path,
    fake_model: FakeModel,
) -> None:
    """Only what is lost is embedded: what is new waits for `index`, what is gone stays known."""
    paint(photos / "new.png", (9, 99, 199))
    (photos / "blue.png").unlink()
    _bad_row(index)
    repaired = repair_index(str(index))
    assert (repaired.embedded, fake_model.embedded) == (1, 1)
    with ImageIndex(str(index)) as opened:
        known = {row.path for row in opened.catalog.files(1)}
    assert "blue.png" in known
    assert "new.png" not in known


def test_vectors_that_wait_for_their_files_are_counted(index: Path) -> None:
    """A damaged vector of a picture without files costs no picture; the repair forgets it."""
    path, start = place_of(index, "green")
    with IndexWriter(str(index)) as writer:
        row = writer.catalog.file(1, "green.png")
        assert row is not None
        writer.catalog.drop_files([row.id])
    flip(path, start)
    report = verify_index(str(index))
    assert (report.lost_paths, report.retained) == ([], 1)
    assert "1 damaged embedding belonged to deleted images" in imgsearch("verify", "--index", index).err
    repair_index(str(index))
    assert verify_index(str(index)).damages == []


def test_a_segment_that_may_not_be_read_is_not_given_up(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system refuses to open is named, and a repair changes nothing until it can be read."""
    real = os.open

    def refuse(path: str, *args: int, **kwargs: int) -> int:
        if path == str(index / FIRST):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        report = verify_index(str(index))
        assert (kinds(report), report.lost_paths) == (["refused"], [])
        with pytest.raises(StorageError, match="nothing was changed"):
            repair_index(str(index))
    assert verify_index(str(index)).damages == []
    finds_everything(index)


def test_a_repair_waits_for_no_other_writer(index: Path) -> None:
    """While another process writes, a repair is refused, and a check is not."""
    with IndexWriter(str(index)):
        assert verify_index(str(index)).damages == []
        with pytest.raises(IndexLocked):
            repair_index(str(index))


def test_a_rebuilt_index_keeps_a_copy_of_its_manifest_too(
    index: Path,
    photos: Path,
    fake_model: FakeModel,
) -> None:
    """The manifest of a later generation is restored from that generation's catalogue."""
    run(index, photos, rebuild=True)
    assert manifest.load(str(index))[1] == str(index / "generation-0002")
    was = (index / "manifest.json").read_bytes()
    _manifest_bad(index)
    assert kinds(verify_index(str(index))) == ["manifest"]
    repair_index(str(index))
    assert (index / "manifest.json").read_bytes() == was
    finds_everything(index)


def test_an_unfinished_rebuild_is_not_taken_for_the_index(
    index: Path,
    photos: Path,
    fake_model: FakeModel,
) -> None:
    """While a new generation is incomplete, a damaged manifest is restored to name the old one."""
    was = (index / "manifest.json").read_bytes()
    with IndexWriter(str(index), spec(), rebuild=True) as writer:
        assert writer.unpublished
    _manifest_bad(index)
    repair_index(str(index))
    assert (index / "manifest.json").read_bytes() == was
    finds_everything(index)


# ---- beside a writer ------------------------------------------------------------------------------------------


def test_a_check_beside_a_writer_that_compacts_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments that come and go while they are read are no damage."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", HEADER_BYTES + 8 * WIDTH)
    folder = str(tmp_path / "index")
    found: list[Damage] = []
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                found.extend(verify_index(folder).damages)

        looker = threading.Thread(target=look)
        looker.start()
        try:
            for turn in range(25):
                keys = [sha((turn, number)) for number in range(5)]
                files = [state(root, f"{turn}-{number}.jpg", key) for number, key in enumerate(keys)]
                writer.commit([(key, 0, 1, 1) for key in keys], unit(5, turn), files)
                writer.catalog.drop_files(
                    [row.id for row in writer.catalog.files(root)][: 3 if turn > 3 else 0]
                )
                writer.compact(0.0)
        finally:
            over.set()
            looker.join()
    assert found == []


def test_every_picture_is_listed_with_its_own_damage(index: Path) -> None:
    """With --json, three things that are wrong in one file are told apart: each has its line, or its pictures'."""
    with ImageIndex(str(index)) as opened:
        (known,) = [file for file in opened.catalog.files(1) if file.path == "blue.png"]
    sql(index, "UPDATE tally SET files = 77", f"DELETE FROM content WHERE sha256 = x'{known.content.hex()}'")
    objects = imgsearch("verify", "--json", "--index", index).objects
    assert [(one["what"].split()[0], one["path"] and os.path.basename(one["path"])) for one in objects] == [
        ("has", None),
        ("has", None),
        ("has", None),
        ("has", "blue.png"),
    ]


def test_another_model_is_refused_before_anything_is_changed(
    index: Path, fake_model: FakeModel, tmp_path: Path
) -> None:
    """A --model that the vectors can't come from ends the repair at once: the damage is as it was."""
    segment, place = place_of(index, "blue")
    flip(segment, place)
    done = imgsearch("verify", "--repair", "--model", tmp_path / "other", "--index", index)
    assert done.code == 2
    assert "repaired" not in done.err
    assert names(verify_index(str(index))) == ["blue.png"]
    assert imgsearch("verify", "--repair", "--index", index).code == 0
    finds_everything(index)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bit", [0, 1, 2, 12, 24, 30, 40, 61, 63])
def test_a_segment_that_claims_any_number_of_rows_is_repaired_in_no_time(index: Path, bit: int) -> None:
    """A single flipped bit in a segment's number of rows costs a repair no more work than there are rows."""
    sql(index, f"UPDATE segment SET rows = (rows | (1 << {bit})) - (rows & (1 << {bit})) WHERE id = 1")
    assert not repair_index(str(index)).left
    assert verify_index(str(index)).damages == []
    finds_everything(index)
    with closing(Catalog(str(index))) as catalog:
        assert sum(catalog.deleted_counts().values()) <= 8


@pytest.mark.parametrize("bit", [24, 40, 63])
def test_a_missing_segment_that_claims_any_number_of_rows_is_repaired_too(index: Path, bit: int) -> None:
    """The same where its file is gone."""
    sql(index, f"UPDATE segment SET rows = rows | (1 << {bit}) WHERE id = 2")
    (index / "vectors/00000002.f16").unlink()
    assert not repair_index(str(index)).left
    finds_everything(index)


def put_vector(index: Path, colour: str, row: np.ndarray[Any, Any]) -> None:
    """Give a picture another vector, with a right checksum, as somebody else's index may have it."""
    path, offset = place_of(index, colour)
    stored = np.asarray(row, "<f2")
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(stored.tobytes())
    at = (offset - HEADER_BYTES) // WIDTH
    sql(
        index,
        f"UPDATE content SET crc = {segments.row_crc(stored)} WHERE segment = {int(path.stem)} AND row = {at}",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 100.0])
def test_a_vector_that_is_none_is_no_hit_and_named(index: Path, photos: Path, value: float) -> None:
    """Vectors that are not finite or not of unit length are never hits, crowd none out, and are named by verify."""
    bad = [colour for colour in COLOURS if colour not in ("red", "blue")]
    for colour in bad:
        put_vector(index, colour, np.full(DIM, value))
    for options in ([], ["--exact"], ["--dim", "7"]):
        done = imgsearch("query", "red", "--json", "--index", index, *options)
        assert done.code == 0, done.err
        assert [os.path.basename(hit["path"]) for hit in done.objects] == ["red.png", "blue.png"]
        assert all(-1.01 <= hit["score"] <= 1.01 for hit in done.objects)
    assert imgsearch("doctor", "--recall", "--index", index).code == 0
    similar = imgsearch("similar", photos / "green.png", "--index", index)
    assert similar.code == 2
    assert "not of unit length" in similar.err
    report = verify_index(str(index))
    assert {os.path.basename(path) for path in report.lost_paths} == {f"{colour}.png" for colour in bad}
    assert "not finite or not of unit length" in report.damages[0].what
    repair_index(str(index))
    finds_everything(index)


def test_an_index_of_nothing_but_bad_vectors_finds_nothing(index: Path) -> None:
    """Where no vector is one, nothing is found, and nothing goes wrong."""
    for colour in COLOURS:
        put_vector(index, colour, np.full(DIM, np.nan))
    assert imgsearch("query", "red", "--index", index).code == 1
    assert imgsearch("doctor", "--recall", "--index", index).code == 0


def test_after_a_repair_that_was_killed_the_pictures_that_wait_are_counted(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it embeds, a repair leaves an index of which verify, doctor and status say how many images wait."""
    with monkeypatch.context() as patched:
        patched.setattr(verify, "_embed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        (index / FIRST).unlink()
        with pytest.raises(KeyboardInterrupt):
            repair_index(str(index))
    checked = imgsearch("verify", "--index", index)
    assert checked.code == 1
    assert "have no embedding" in checked.err
    assert f"imgsearch index --index {index}" in checked.err
    assert "OK" not in checked.err
    report = verify_index(str(index))
    assert report.waiting in (4, 5)  # the copy of the red one may be among them
    done = imgsearch("doctor", "--index", index)
    assert done.code == 1
    assert f"{report.waiting} images have no embedding since a repair" in done.out.decode()
    assert f"{report.waiting} images have no embedding" in imgsearch("status", "--index", index).out.decode()
    assert imgsearch("verify", "--repair", "--index", index).code == 0
    assert verify_index(str(index)).waiting == 0
    finds_everything(index)


def test_the_next_run_takes_what_a_killed_repair_has_left(
    index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary run embeds the images of which a killed repair has taken the damaged embeddings out."""
    with monkeypatch.context() as patched:
        patched.setattr(verify, "_embed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        (index / FIRST).unlink()
        with pytest.raises(KeyboardInterrupt):
            repair_index(str(index))
    run(index, photos)
    assert verify_index(str(index)).waiting == 0
    finds_everything(index)
