"""The catalogue: what it is told it answers, all of a transaction or nothing, and damage is named."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch.errors import ImgsearchError, IndexDamaged, IndexLocked, IndexMismatch, StorageError
from imgsearch.index.catalog import Catalog
from imgsearch.index.database import MIGRATIONS
from imgsearch.index.layout import CATALOGUE
from imgsearch.index.rows import FileState, NewContent, VectorLocation, is_current
from imgsearch.types import SourceFile
from support.fakes import sha, state, unprivileged
from support.oracle import forget

NAMES = (
    st.binary(min_size=1, max_size=255)
    .filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
    .map(os.fsdecode)
)


def paths(catalog: Catalog, name: object) -> tuple[str, ...]:
    """Return the paths of a content as a hit would show them."""
    place = catalog.locate(sha(name))
    assert place is not None
    at = (place.segment, place.row)
    return catalog.records([at])[at][0].paths


def new(name: object, page: int = 0, crc: int = 7) -> NewContent:
    return NewContent(sha(name), page, 40, 30, crc)


def filled(folder: Path | str) -> None:
    """Make a catalogue with two pictures in three files, and a file that was skipped."""
    catalog = Catalog(str(folder), write=True, create=True)
    root = catalog.put_root("/pictures", {"exclude": ["*.tmp"]}, "/mnt")
    states = [
        state(root, "a.jpg", sha("a")),
        state(root, "copy of a.jpg", sha("a")),
        state(root, "sub/b.jpg", sha("b")),
        state(root, "sub/broken.jpg", None),
    ]
    catalog.commit(1, 0, [new("a"), new("b")], states)
    catalog.close()


def answers(folder: Path | str) -> tuple[object, ...]:
    """Return all that a reader learns."""
    catalog = Catalog(str(folder))
    try:
        return (
            catalog.roots(),
            [list(catalog.files(root.id)) for root in catalog.roots()],
            catalog.segments(),
            catalog.records([(segment, row) for segment, rows in catalog.segments() for row in range(rows)]),
            list(catalog.errors()),
            catalog.counts(),
            catalog.meta("created"),
        )
    finally:
        catalog.close()


def test_a_reopened_catalogue_answers_what_it_was_told(tmp_path: Path) -> None:
    """Files, copies, places, sizes and errors come back from a reopened catalogue."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path))
    (root,) = catalog.roots()
    assert (root.path, root.options, root.mount) == ("/pictures", {"exclude": ["*.tmp"]}, "/mnt")
    assert [row.path for row in catalog.files(root.id)] == [
        "a.jpg",
        "copy of a.jpg",
        "sub/b.jpg",
        "sub/broken.jpg",
    ]
    assert catalog.segments() == [(1, 2)]
    found = catalog.records([(1, 0)]).get((1, 0))
    assert found is not None
    record, crc = found
    assert (record.sha256, record.width, record.height, crc) == (sha("a"), 40, 30, 7)
    assert record.paths == ("/pictures/a.jpg", "/pictures/copy of a.jpg")
    assert catalog.locate(sha("b")) == VectorLocation(2, 1, 1, 7)
    assert catalog.locate(sha("b"), page=1) is None
    assert catalog.counts() == (3, 2, {"corrupt": 1})
    assert list(catalog.errors()) == [("/pictures/sub/broken.jpg", "corrupt", "")]
    catalog.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(NAMES, min_size=1, max_size=5), NAMES)
def test_names_are_bytes(tmp_path: Path, names: set[str], folder: str) -> None:
    """A file's name comes back byte by byte, whatever it holds but NUL and slash; so does its root's."""
    catalog = Catalog(str(tmp_path), write=True, create=True)
    root = catalog.put_root(f"/{folder}", {})
    for known in catalog.roots():  # of the example before
        forget(catalog, [row.id for row in catalog.files(known.id)])
    states = [state(root, f"{folder}/{name}", sha(name)) for name in names]
    catalog.commit(1, 0, [new(name) for name in names], states)
    kept = [row.path for row in catalog.files(root)]
    assert kept == sorted((f"{folder}/{name}" for name in names), key=os.fsencode)
    for name in names:
        row = catalog.file(root, f"{folder}/{name}")
        assert row is not None
        assert paths(catalog, name) == (f"/{folder}/{folder}/{name}",)
    assert f"/{folder}" in [known.path for known in catalog.roots()]
    catalog.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.integers()] * 5))
def test_any_number_of_a_file_is_stored_and_current(
    tmp_path: Path, numbers: tuple[int, int, int, int, int]
) -> None:
    """Whatever numbers a file system gives for a file, it is stored and is current the next time."""
    source = SourceFile("/pictures", "a.jpg", *numbers)
    with closing(Catalog(str(tmp_path), write=True, create=True)) as catalog:
        root = catalog.put_root("/pictures", {})
        catalog.commit(1, 0, [], [FileState(root, source, sha("a"))])
        found = catalog.file(root, "a.jpg")
    assert is_current(found, SourceFile("/pictures", "a.jpg", *numbers))[0]
    assert found is not None
    assert (found.device, found.inode, found.ctime_ns) == (source.device, source.inode, source.ctime_ns)


def test_files_below_a_folder_are_those_and_no_others(tmp_path: Path) -> None:
    """What lies below "a" is a/… and a itself, never a-b/… or ab, and in no case by upper and lower letters."""
    catalog = Catalog(str(tmp_path), write=True, create=True)
    root = catalog.put_root("/pictures", {})
    paths = ["a", "a b/x", "a-b/x", "a.jpg", "a/x", "a/y/z", "a/\udcff", "a0", "ab/x", "A/x", "%/x"]
    catalog.commit(1, 0, [], [state(root, path, sha(path)) for path in paths])
    assert [row.path for row in catalog.files(root, "a")] == ["a", "a/x", "a/y/z", "a/\udcff"]
    assert [row.path for row in catalog.files(root, "a/y")] == ["a/y/z"]
    assert [row.path for row in catalog.files(root, "%")] == ["%/x"]
    assert {row.path for row in catalog.files(root)} == set(paths)
    catalog.close()


def test_a_commit_is_all_or_nothing(tmp_path: Path) -> None:
    """A commit that fails at its last row leaves nothing of itself, and the next one succeeds."""
    filled(tmp_path)
    before = answers(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    root = catalog.roots()[0].id
    with pytest.raises(IndexDamaged, match="UNIQUE"):
        catalog.commit(1, 2, [new("c"), new("a")], [state(root, "c.jpg", sha("c"))])
    with pytest.raises(IndexDamaged, match="FOREIGN KEY"):
        catalog.commit(1, 2, [new("c")], [state(root, "c.jpg", sha("c")), state(99, "x", sha("c"))])
    assert answers(tmp_path) == before
    catalog.commit(1, 2, [new("c")], [state(root, "c.jpg", sha("c"))])
    assert catalog.counts()[:2] == (4, 3)
    catalog.close()


def test_an_open_transaction_shows_a_reader_nothing(tmp_path: Path) -> None:
    """A reader is not blocked by a writer in the middle of a transaction, and sees none of it before its end."""
    filled(tmp_path)
    before = answers(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    with catalog.transaction() as db:
        db.execute("DELETE FROM file")
        assert answers(tmp_path) == before
    assert answers(tmp_path) != before
    catalog.close()


def test_a_snapshot_stays_while_a_writer_goes_on(tmp_path: Path) -> None:
    """What a reader sees within one snapshot does not change under it."""
    filled(tmp_path)
    reader, writer = Catalog(str(tmp_path)), Catalog(str(tmp_path), write=True)
    with reader.transaction("DEFERRED"):
        assert reader.counts()[0] == 3
        writer.drop_files([row.id for row in writer.files(writer.roots()[0].id)])
        assert reader.counts()[0] == 3
    assert reader.counts()[0] == 0
    reader.close()
    writer.close()


def test_many_threads_may_read_and_take_snapshots(tmp_path: Path) -> None:
    """One opened catalogue answers several threads at once, each within a snapshot."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path))
    together, wrong = threading.Barrier(4), []

    def read() -> None:
        together.wait()
        for _ in range(200):
            try:
                with catalog.transaction("DEFERRED"):
                    if catalog.counts()[:2] != (3, 2) or catalog.segments() != [(1, 2)]:
                        wrong.append("figures")
            except Exception as error:
                wrong.append(repr(error))
                return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    catalog.close()
    assert wrong == []


def test_an_updated_file_is_one_file(tmp_path: Path) -> None:
    """A file that is committed again replaces what was known of it: content by error and back."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    root = catalog.roots()[0].id
    catalog.commit(1, 2, [], [state(root, "a.jpg", None, size=9)])
    row = catalog.file(root, "a.jpg")
    assert row is not None
    assert (row.size, row.content, row.error) == (9, None, "corrupt")
    assert paths(catalog, "a") == ("/pictures/copy of a.jpg",)
    catalog.commit(1, 2, [], [state(root, "a.jpg", sha("b"))])
    assert catalog.counts() == (3, 2, {"corrupt": 1})
    catalog.close()


def test_a_picture_without_a_file_is_no_record_but_keeps_its_vector(tmp_path: Path) -> None:
    """A pruned file's content is found by its hash, should it come back, and is no picture of the index."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    catalog.drop_files([row.id for row in catalog.files(1, "sub")])
    assert catalog.records([(1, 1)]) == {}
    assert catalog.locate(sha("b")) is not None
    catalog.close()


def test_a_removed_picture_is_forgotten_with_its_last_file(tmp_path: Path) -> None:
    """What versions before removed took its content along, unless another file had the same bytes; all counts hold."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    rows = {row.path: row.id for row in catalog.files(1)}
    forget(catalog, [rows["a.jpg"], rows["sub/b.jpg"], rows["sub/broken.jpg"]])
    assert catalog.locate(sha("a")) is not None
    assert catalog.locate(sha("b")) is None
    forget(catalog, [rows["copy of a.jpg"]])
    assert catalog.locate(sha("a")) is None
    assert catalog.counts() == (0, 0, {})
    catalog.close()


def test_a_split_root_hands_its_files_over(tmp_path: Path) -> None:
    """The files of a folder that becomes a root of its own move there, each once, under paths relative to it."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    inner = catalog.put_root("/pictures/sub", {})
    catalog.commit(1, 2, [], [state(inner, "b.jpg", sha("a"))])
    catalog.split_root(1, "sub", inner, {7: 0})
    assert [row.path for row in catalog.files(1)] == ["a.jpg", "copy of a.jpg"]
    assert [(row.path, row.content) for row in catalog.files(inner)] == [
        ("b.jpg", sha("b")),
        ("broken.jpg", None),
    ]
    catalog.close()


def test_files_on_a_split_roots_own_device_are_at_home(tmp_path: Path) -> None:
    """What lay on the new root's drive is on its root's own from then on, what lay on the other's is not any more."""
    catalog = Catalog(str(tmp_path), write=True, create=True)
    outer = catalog.put_root("/pictures", {})
    states = [
        FileState(outer, SourceFile("/pictures", f"usb/{device}.jpg", 1, 1, device), error="corrupt")
        for device in (0, 7, 8)
    ]
    catalog.commit(1, 0, [], states)
    inner = catalog.put_root("/pictures/usb", {})
    catalog.split_root(outer, "usb", inner, {7: 0, 0: 9})
    assert [(row.path, row.device) for row in catalog.files(inner)] == [
        ("0.jpg", 9),
        ("7.jpg", 0),
        ("8.jpg", 8),
    ]
    catalog.close()


def test_a_root_is_known_once(tmp_path: Path) -> None:
    """Adding a root again brings its options up to date and keeps its id."""
    filled(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    assert catalog.put_root("/pictures", {"exclude": []}, "/mnt/\udcff") == 1
    (root,) = catalog.roots()
    assert (root.options, root.mount) == ({"exclude": []}, "/mnt/\udcff")
    for drive in ("uuid 1", "", "uuid 2"):
        catalog.put_root("/pictures", {}, "/", drive)
        assert catalog.roots()[0].drive == drive
    catalog.drop_files([row.id for row in catalog.files(1)])
    catalog.drop_root(1)
    assert catalog.roots() == []
    catalog.close()


def test_the_devices_of_a_roots_files_change_with_its_drive(tmp_path: Path) -> None:
    """In the same step: files of the drive that was there get a number of theirs, and give up that of the new one."""
    catalog = Catalog(str(tmp_path), write=True, create=True)
    root = catalog.put_root("/pictures", {}, "/mnt", "first")
    other = catalog.put_root("/others", {})
    for folder in (root, other):
        states = [
            FileState(folder, SourceFile("/", f"{device}.jpg", 1, 1, device), error="corrupt")
            for device in (0, -5, 7)
        ]
        catalog.commit(1, 0, [], states)
    catalog.put_root("/pictures", {}, "/mnt", "second", devices={0: -6, -5: 0})
    assert {row.path: row.device for row in catalog.files(root)} == {"0.jpg": -6, "-5.jpg": 0, "7.jpg": 7}
    assert {row.path: row.device for row in catalog.files(other)} == {"0.jpg": 0, "-5.jpg": -5, "7.jpg": 7}
    catalog.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A catalogue of a later version is refused with the advice to update, and not altered."""
    filled(tmp_path)
    with sqlite3.connect(tmp_path / CATALOGUE) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    for write in (False, True):
        with pytest.raises(IndexMismatch, match="upgrade imgsearch"):
            Catalog(str(tmp_path), write=write)


@pytest.mark.parametrize("write", [False, True])
def test_a_missing_catalogue_is_damage(tmp_path: Path, write: bool) -> None:
    """Neither reader nor writer takes a lost catalogue for a new one."""
    with pytest.raises(IndexDamaged, match=r"catalog\.sqlite is missing.*rebuild=True"):
        Catalog(str(tmp_path), write=write)
    assert not (tmp_path / CATALOGUE).exists()


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("data", [b"", b"no database" * 1000])
def test_what_is_no_catalogue_is_damage(tmp_path: Path, data: bytes, write: bool) -> None:
    """An empty file or one of something else in the catalogue's place is named as damaged."""
    (tmp_path / CATALOGUE).write_bytes(data)
    with pytest.raises(IndexDamaged, match=r"catalog\.sqlite .*rebuild=True"):
        Catalog(str(tmp_path), write=write)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damage_is_never_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of the database are overwritten, the answer is one of ours or an ImgsearchError."""
    sound = tmp_path / "sound"
    if not sound.exists():
        sound.mkdir()
        filled(sound)
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    content = bytearray((folder / CATALOGUE).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):  # most pages are mostly empty: aim at what is written
            place = next((at for at in range(place, len(content)) if content[at]), place)
        patch = data.draw(st.binary(min_size=1, max_size=data.draw(st.sampled_from([1, 4, 4096]))))
        content[place : place + len(patch)] = patch[: len(content) - place]
    (folder / CATALOGUE).write_bytes(content)
    try:
        answers(folder)
    except ImgsearchError:
        pass


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_a_cut_database_is_damage(tmp_path: Path, part: float) -> None:
    """A database that was cut off is named as damaged when it is asked."""
    filled(tmp_path)
    size = (tmp_path / CATALOGUE).stat().st_size
    os.truncate(tmp_path / CATALOGUE, int(size * part))
    with pytest.raises(IndexDamaged, match=r"catalog\.sqlite is damaged.*rebuild=True"):
        answers(tmp_path)


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    """When the database can't grow, nothing of the commit is visible and the message says why."""
    filled(tmp_path)
    before = answers(tmp_path)
    catalog = Catalog(str(tmp_path), write=True)
    pages = catalog.database.connection.execute("PRAGMA page_count").fetchone()[0]
    catalog.database.connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [state(1, f"{number:0200d}.jpg", sha(number)) for number in range(500)]
    with pytest.raises(StorageError, match=r"full.*everything saved before is intact"):
        catalog.commit(1, 2, [], many)
    assert answers(tmp_path) == before
    catalog.database.connection.execute("PRAGMA max_page_count = 100000")
    catalog.commit(1, 2, [], many)
    assert catalog.counts()[0] == 503
    catalog.close()


def test_another_programs_transaction_is_said(tmp_path: Path) -> None:
    """A database that another program holds locked is said to be in use, not damaged."""
    filled(tmp_path)
    other = sqlite3.connect(tmp_path / CATALOGUE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    catalog = Catalog(str(tmp_path), write=True)
    catalog.database.connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(IndexLocked, match="in use by another program"):
        catalog.put_meta("x", "y")
    other.execute("ROLLBACK")
    catalog.put_meta("x", "y")
    assert catalog.meta("x") == "y"
    catalog.close()
    other.close()


READ = """
from imgsearch.index.catalog import Catalog
from imgsearch.errors import ImgsearchError
try:
    print(Catalog(sys.argv[1]).counts())
except ImgsearchError as error:
    print(type(error).__name__, error)
"""


def test_a_read_only_folder_can_be_read(tmp_path: Path) -> None:
    """An index at rest in a folder that may not be written answers, and nothing is written there."""
    filled(tmp_path)
    before = sorted(os.listdir(tmp_path))
    os.chmod(tmp_path, 0o555)
    os.chmod(tmp_path / CATALOGUE, 0o444)
    try:
        assert unprivileged(READ, tmp_path) == "(3, 2, {'corrupt': 1})\n"
        assert sorted(os.listdir(tmp_path)) == before
    finally:
        os.chmod(tmp_path, 0o755)


def test_an_open_log_in_a_read_only_folder_is_not_ignored(tmp_path: Path) -> None:
    """Where the last changes are still in the log and the log can't be read along, the answer is one line.

    Run after the advice in that line, the index answers with all of them.
    """
    (tmp_path / "live").mkdir()
    filled(tmp_path / "live")
    writer = Catalog(str(tmp_path / "live"), write=True)
    writer.commit(1, 2, [], [state(1, "late.jpg", sha("a"))])
    folder = tmp_path / "copy"  # as a killed writer leaves it
    folder.mkdir()
    for name in (CATALOGUE, CATALOGUE + "-wal"):
        shutil.copy(tmp_path / "live" / name, folder / name)
    writer.close()
    assert (folder / (CATALOGUE + "-wal")).stat().st_size > 0
    os.chmod(folder, 0o555)
    try:
        said = unprivileged(READ, folder)
        assert said.startswith("StorageError")
        assert "index_pictures()" in said
        os.chmod(folder, 0o755)
        Catalog(str(folder), write=True).close()
        os.chmod(folder, 0o555)
        assert unprivileged(READ, folder) == "(4, 2, {'corrupt': 1})\n"
    finally:
        os.chmod(folder, 0o755)


def test_a_read_only_folder_can_not_be_written(tmp_path: Path) -> None:
    """A writer in such a folder gets one line that says so."""
    filled(tmp_path)
    os.chmod(tmp_path, 0o555)
    os.chmod(tmp_path / CATALOGUE, 0o444)
    try:
        said = unprivileged(
            READ.replace("Catalog(sys.argv[1])", "Catalog(sys.argv[1], write=True)"), tmp_path
        )
        assert said.startswith("StorageError")
    finally:
        os.chmod(tmp_path, 0o755)
