"""The store of thumbnails: a cache that keeps to its limit, trusts nothing on the disk, and never fails."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.index import thumbs
from imgsearch.index.layout import CATALOGUE
from imgsearch.index.thumbs import SHARDS, ThumbStore, Used
from support.fakes import sha, unprivileged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a catalogue."""
    made = tmp_path / "index"
    made.mkdir()
    (made / CATALOGUE).touch()
    return made


def key(number: int, shard: int = 0) -> bytes:
    """Return a sha256 that lies in a shard."""
    return bytes([shard]) + sha(number)[1:]


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "thumbs").rglob("*") if path.is_file())


def test_what_was_put_is_there_for_everyone(folder: Path) -> None:
    """Another store of the same index has it, by content, page and size."""
    assert ThumbStore(str(folder)).put(sha(1), 2, "s", b"an image")
    other = ThumbStore(str(folder))
    assert other.get(sha(1), 2, "s") == b"an image"
    assert other.has(sha(1), 2, "s")
    for missing in ((sha(2), 2, "s"), (sha(1), 0, "s"), (sha(1), 2, "l")):
        assert other.get(*missing) is None
    assert other.used() == Used(1, len(b"an image") + 8)


def test_it_stays_when_the_index_moves(folder: Path, tmp_path: Path) -> None:
    """The name of a thumbnail depends on nothing but the image."""
    ThumbStore(str(folder)).put(sha(1), 0, "l", b"x")
    shutil.move(folder, tmp_path / "elsewhere")
    assert ThumbStore(str(tmp_path / "elsewhere")).get(sha(1), 0, "l") == b"x"


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_damaged_thumbnail_is_not_there(
    tmp_path_factory: pytest.TempPathFactory, image: bytes, data: st.DataObject
) -> None:
    """Whatever byte changes or is missing, nothing is returned, and putting it again mends it."""
    folder = tmp_path_factory.mktemp("index")
    (folder / CATALOGUE).touch()
    store = ThumbStore(str(folder))
    store.put(sha(1), 0, "s", image)
    (path,) = (folder / "thumbs").rglob("*.webp")
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    else:
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert store.get(sha(1), 0, "s") is None
    assert store.damaged() == [str(path)]
    assert store.put(sha(1), 0, "s", image)
    assert store.get(sha(1), 0, "s") == image
    assert store.damaged() == []


def test_those_used_the_longest_time_ago_go_first(folder: Path) -> None:
    """A full folder makes room, and one that was read lately stays."""
    store = ThumbStore(str(folder), limit=SHARDS * 1000)
    for number in range(9):
        store.put(key(number), 0, "s", bytes(92))
        old = time.time() - 1_000_000 + number
        os.utime(store._path(key(number), 0, "s"), (old, old))
    assert store.get(key(0), 0, "s") == bytes(92)  # the oldest, used again
    for number in range(9, 12):
        assert store.put(key(number), 0, "s", bytes(92))
    left = {number for number in range(12) if store.has(key(number), 0, "s")}
    assert {0, 9, 10, 11} <= left
    assert not {1, 2} & left
    assert store.used().bytes <= 1000


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), max_size=40), st.booleans())
def test_the_limit_holds(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], displace: bool
) -> None:
    """No folder takes more than its part, whatever is put, and without displacing nothing that was kept goes."""
    folder = tmp_path_factory.mktemp("index")
    (folder / CATALOGUE).touch()
    store = ThumbStore(str(folder), limit=SHARDS * 1000)
    kept = []
    for number, (shard, size) in enumerate(sizes):
        if store.put(key(number, shard), 0, "s", bytes(size), displace=displace):
            kept.append(key(number, shard))
        for folders in (folder / "thumbs").glob("*"):
            assert sum(path.stat().st_size for path in folders.iterdir()) <= 1000
    if not displace:
        assert all(store.has(one, 0, "s") for one in kept)


def test_it_may_be_deleted_while_it_is_used(folder: Path) -> None:
    """Threads that put and get while another deletes it all see no error, and at the end it works."""
    store, stop = ThumbStore(str(folder)), threading.Event()
    failures: list[BaseException] = []

    def use(worker: int) -> None:
        try:
            for number in range(60):
                store.put(key(number, worker), 0, "s", b"image")
                assert store.get(key(number, worker), 0, "s") in (b"image", None)
        except BaseException as error:
            failures.append(error)

    def delete() -> None:
        while not stop.is_set():
            shutil.rmtree(folder / "thumbs", ignore_errors=True)

    threads = [threading.Thread(target=use, args=(worker,)) for worker in range(4)]
    deleting = threading.Thread(target=delete)
    for thread in (*threads, deleting):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    deleting.join()
    assert failures == []
    assert store.put(sha(1), 0, "s", b"image")
    assert store.get(sha(1), 0, "s") == b"image"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_it_can_be_read_only_by_whom_the_catalogue_can(folder: Path, mode: int) -> None:
    """A thumbnail shows more than the catalogue tells."""
    (folder / CATALOGUE).chmod(mode)
    before = os.umask(0)
    try:
        ThumbStore(str(folder)).put(sha(1), 0, "s", b"x")
    finally:
        os.umask(before)
    (path,) = (folder / "thumbs").rglob("*.webp")
    assert path.stat().st_mode & 0o777 == mode
    readers = {0o600: 0o700, 0o640: 0o750, 0o644: 0o755}[mode]
    assert path.parent.stat().st_mode & 0o777 == readers
    assert (folder / "thumbs").stat().st_mode & 0o777 == readers


def test_nothing_is_stored_in_an_index_that_is_only_read(folder: Path) -> None:
    """That is no error, and what is there is still read."""
    ThumbStore(str(folder)).put(sha(1), 0, "s", b"x")
    code = """
from imgsearch.index.thumbs import ThumbStore
from support.fakes import sha
store = ThumbStore(sys.argv[1])
print(store.get(sha(1), 0, "s"), store.put(sha(2), 0, "s", b"y"), store.get(sha(2), 0, "s"))
"""
    for path in (*(folder / "thumbs").rglob("*"), folder / "thumbs", folder):
        path.chmod(path.stat().st_mode & 0o555)
    for path in (folder, *folder.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    assert unprivileged(code, folder) == "b'x' False None\n"


def test_where_there_is_no_index_nothing_appears(tmp_path: Path) -> None:
    """An index that was removed does not come back as a folder of thumbnails."""
    store = ThumbStore(str(tmp_path / "gone"))
    assert not store.put(sha(1), 0, "s", b"x")
    assert not (tmp_path / "gone").exists()
    (tmp_path / "gone").mkdir()
    assert not store.put(sha(1), 0, "s", b"x")
    assert list((tmp_path / "gone").iterdir()) == []


@pytest.mark.parametrize("which", ["thumbs", "shard", "file", "beside"])
def test_no_link_is_followed(
    folder: Path, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can write to the index's folder chooses neither what is read nor what is overwritten."""
    store, outside = ThumbStore(str(folder)), tmp_path / "outside"
    store.put(sha(1), 0, "s", b"secret")
    path = Path(store._path(sha(1), 0, "s"))
    shutil.copytree(folder / "thumbs", outside)
    mine = outside / path.parent.name / path.name
    before = mine.read_bytes()
    if which == "thumbs":
        shutil.rmtree(folder / "thumbs")
        (folder / "thumbs").symlink_to(outside)
    elif which == "shard":
        shutil.rmtree(path.parent)
        path.parent.symlink_to(outside / path.parent.name)
    elif which == "file":
        path.unlink()
        path.symlink_to(mine)
    else:
        (path.parent / f"{path.name}.{os.getpid()}-{threading.get_native_id()}.new").symlink_to(mine)
    if which != "beside":
        assert store.get(sha(1), 0, "s") is None
    stored = store.put(sha(1), 0, "s", b"mine")
    store.tidy(lambda first: [])
    assert mine.read_bytes() == before
    assert stored == (which in ("file", "beside"))


def test_a_pipe_in_the_place_of_a_thumbnail_blocks_nobody(folder: Path) -> None:
    """It is not there, and a new one takes its place or is left out."""
    store = ThumbStore(str(folder))
    store.put(sha(1), 0, "s", b"x")
    path = store._path(sha(1), 0, "s")
    os.unlink(path)
    os.mkfifo(path)
    assert store.get(sha(1), 0, "s") is None
    assert store.put(sha(1), 0, "s", b"y")
    assert store.get(sha(1), 0, "s") == b"y"


def test_a_full_disk_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written is not kept, and leaves nothing behind."""
    store = ThumbStore(str(folder))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "replace", full)
    assert not store.put(sha(1), 0, "s", b"x")
    assert files_below(folder) == []


def test_tidying_drops_what_the_index_no_longer_has_and_what_killed_processes_left(folder: Path) -> None:
    """Files of other names are nobody's to delete."""
    store = ThumbStore(str(folder))
    for number in range(4):
        store.put(sha(number), 0, "s", b"image")
    store.put(sha(0), 0, "l", b"large")
    shard = Path(store._path(sha(0), 0, "s")).parent
    (shard / "mine.webp").write_bytes(b"mine")
    torn = shard / f"{sha(0).hex()}-0-s.webp.1-2.new"
    torn.write_bytes(b"torn")
    os.utime(torn, (0, 0))
    asked: list[bytes] = []

    def known(first: bytes) -> list[bytes]:
        asked.append(first)
        return [one for one in (sha(0), sha(2)) if one.startswith(first)]

    assert store.tidy(known) == Used(2, 2 * (5 + 8))
    assert {number for number in range(4) if store.has(sha(number), 0, "s")} == {0, 2}
    assert store.has(sha(0), 0, "l")
    assert (shard / "mine.webp").exists()
    assert not torn.exists()
    assert asked == sorted(asked)
    (shard / "mine.webp").unlink()
    store.tidy(lambda first: [])
    assert not (folder / "thumbs").exists()


def test_tidying_brings_a_store_that_is_too_large_below_its_limit(folder: Path) -> None:
    """As after the limit was lowered."""
    for number in range(9):
        ThumbStore(str(folder)).put(key(number), 0, "s", bytes(92))
    store = ThumbStore(str(folder), limit=SHARDS * 500)
    done = store.tidy(lambda first: [key(number) for number in range(9)])
    assert done == Used(5, 500)
    assert store.used() == Used(4, 400)


def test_reading_a_thumbnail_sets_its_time_once_a_day(folder: Path) -> None:
    """So that a disk is not written with every look."""
    store = ThumbStore(str(folder))
    store.put(sha(1), 0, "s", b"x")
    path = store._path(sha(1), 0, "s")
    lately, long_ago = time.time() - 60, time.time() - thumbs._USED_SECONDS - 60
    os.utime(path, (lately, lately))
    store.get(sha(1), 0, "s")
    assert os.stat(path).st_mtime == pytest.approx(lately, abs=1)
    os.utime(path, (long_ago, long_ago))
    store.get(sha(1), 0, "s")
    assert os.stat(path).st_mtime > lately
