"""Images of a bucket, played by obstore in memory: indexed, changed, deleted, out of reach; never local files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from imgsearch.addresses import absolute, normal
from imgsearch.cli.terminal.preview.pictures import UNREADABLE, load
from imgsearch.errors import FolderError, InputError, MissingExtra, UsageError
from imgsearch.files import bucket
from imgsearch.files.bucket import BucketError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.crashes import NOTE, DecodingNote
from imgsearch.indexing.edit import relocate, remove_paths
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.indexing.run import index_pictures
from imgsearch.search import examples
from imgsearch.search.language.filtering import below_of
from imgsearch.search.remembered import last_answer
from imgsearch.text import display_path
from imgsearch.tools.desktop import DesktopError, open_files
from imgsearch.types import PixelBudget, SourceFile
from support import fakes
from support.cli import imgsearch
from support.pictures import encode, scene

fake_model = fakes.fake_model
pytestmark = pytest.mark.usefixtures("fake_model")
PHOTOS = "s3://photos/trip"


def _image(seed: int) -> bytes:
    return encode(scene(seed, (40, 30)), ".png")


class Bucket:
    """A bucket whose server may be gone, and which counts what is read."""

    def __init__(self) -> None:
        self.objects, self.is_there, self.is_listed, self.reads = MemoryStore(), True, True, 0

    def list(self, prefix: str | None, chunk_size: int) -> Iterator[Any]:
        self._ask()
        if not self.is_listed:
            raise BucketError("there is no such bucket", is_missing=True)
        yield from self.objects.list(prefix, chunk_size=chunk_size)

    def head(self, key: str) -> Any:
        self._ask()
        return self.objects.head(key)

    def get(self, key: str) -> Any:
        self._ask()
        self.reads += 1
        return self.objects.get(key)

    def _ask(self) -> None:
        if not self.is_there:
            raise BucketError("the server can't be reached")


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    found = Bucket()
    monkeypatch.setattr(bucket, "_store", lambda name: found)
    monkeypatch.setattr(bucket, "_gone", {})
    for number, key in enumerate(("trip/a.png", "trip/b #%.png", "trip/sub/ü.png", "other/c.png")):
        found.objects.put(key, _image(number))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def _index(folder: str, *paths: str, **options: Any) -> IndexResult:
    return index_pictures(paths, folder, IndexOptions(thumbs=False, **options))


def _paths(folder: str) -> set[str]:
    with ImageIndex(folder) as index:
        roots = {root.id: root.path for root in index.catalog.roots()}
        return {f"{path}/{row.path}" for id, path in roots.items() for row in index.catalog.files(id)}


def test_a_prefix_is_a_folder(photos: Bucket, folder: str) -> None:
    """What lies below it is indexed by its address, and a second run reads nothing."""
    assert _index(folder, PHOTOS + "/").indexed == 3
    assert _paths(folder) == {f"{PHOTOS}/{key}" for key in ("a.png", "b #%.png", "sub/ü.png")}
    reads = photos.reads
    assert _index(folder).unchanged == 3
    assert photos.reads == reads


def test_an_object_is_a_file(photos: Bucket, folder: str) -> None:
    """The address of one image or document indexes that one alone."""
    assert _index(folder, f"{PHOTOS}/a.png").indexed == 1
    assert _paths(folder) == {f"{PHOTOS}/a.png"}


def test_what_has_changed_is_read_again(photos: Bucket, folder: str) -> None:
    """Other bytes under the same key, as its ETag tells, are embedded; what was copied is only read."""
    _index(folder, PHOTOS)
    photos.objects.put("trip/a.png", _image(7))
    photos.objects.put("trip/copy.png", _image(1))
    result = _index(folder)
    assert (result.indexed, result.reused, result.unchanged) == (1, 1, 2)


def test_what_was_deleted_is_pruned(photos: Bucket, folder: str) -> None:
    """An object that is not listed any more leaves the index."""
    _index(folder, PHOTOS)
    photos.objects.delete("trip/a.png")
    assert _index(folder).pruned == 1


def test_a_bucket_out_of_reach_deletes_nothing(photos: Bucket, folder: str) -> None:
    """Nor does a list that came back empty: that may be another server."""
    _index(folder, PHOTOS)
    photos.is_there = False
    result = _index(folder)
    assert result.left_alone == {PHOTOS: "it can't be listed: the server can't be reached"}
    photos.is_there = True
    photos.objects.delete(["trip/a.png", "trip/b #%.png", "trip/sub/ü.png"])
    assert _index(folder).pruned == 0
    assert len(_paths(folder)) == 3
    assert _index(folder, prune_empty=True).pruned == 3


def test_nothing_comes_of_a_bucket_that_never_answered(photos: Bucket, folder: str) -> None:
    """The first run ends in one line, and makes no index."""
    photos.is_there = False
    with pytest.raises(FolderError, match="left alone: it can't be listed"):
        _index(folder, PHOTOS)
    assert not os.path.exists(folder)


def test_an_object_that_vanishes_meanwhile_is_left_out(
    photos: Bucket, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed and is gone when it is read is no error of the run; what is no image is told."""
    listed = photos.list

    def and_delete(prefix: str | None, chunk_size: int) -> Iterator[Any]:
        pages = list(listed(prefix, chunk_size))
        photos.objects.delete("trip/a.png")
        yield from pages

    photos.objects.put("trip/d.png", b"no image at all")
    monkeypatch.setattr(photos, "list", and_delete)
    result = _index(folder, PHOTOS)
    assert (result.indexed, dict(result.skipped)) == (2, {"vanished": 1, "not an image": 1})


def test_names_are_left_out_as_in_folders(photos: Bucket, folder: str) -> None:
    """Hidden ones, and those that --exclude means."""
    photos.objects.put("trip/.hidden/e.png", _image(8))
    photos.objects.put("trip/._f.png", _image(9))
    assert _index(folder, PHOTOS, walk=WalkOverrides(exclude=("sub/",))).indexed == 2


def test_a_local_folder_beside_it_leaves_it_alone(
    photos: Bucket, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run over a local folder neither reads nor prunes a bucket, whatever lies in a folder called s3:."""
    (tmp_path / "s3:" / "photos" / "trip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "g.png").write_bytes(_image(5))
    _index(folder, PHOTOS)
    photos.is_there = False
    result = _index(folder, str(tmp_path / "local"))
    assert (result.indexed, result.pruned) == (1, 0)
    assert len(_paths(folder)) == 4


def test_it_is_removed_by_its_address(photos: Bucket, folder: str) -> None:
    """`remove` takes an address, and asks no server."""
    _index(folder, PHOTOS)
    photos.is_there = False
    assert remove_paths([f"{PHOTOS}/sub"], folder, dry_run=True).files == 1
    assert remove_paths([PHOTOS], folder).files == 3


def test_an_indexed_object_is_an_example_without_being_read(photos: Bucket, folder: str) -> None:
    """`similar` with its address finds its embedding in the index."""
    _index(folder, PHOTOS)
    photos.is_there = False
    with ImageIndex(folder) as index:
        assert examples.stored_vector(index, f"{PHOTOS}/a.png") is not None


def test_no_viewer_opens_it() -> None:
    """One line says why not."""
    with pytest.raises(DesktopError, match="is in a bucket"):
        open_files([f"{PHOTOS}/a.png"])


def test_the_extra_is_named(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library an address is refused with the command that adds it."""
    monkeypatch.setattr(bucket, "is_installed", lambda: False)
    with pytest.raises(MissingExtra, match=r"imgsearch-vl\[s3\]|\[s3\]"):
        _index(folder, PHOTOS)


def test_a_portable_index_holds_no_bucket(photos: Bucket, folder: str) -> None:
    """It moves with its folder, which a bucket is not in."""
    with pytest.raises(UsageError, match="a portable index"):
        _index(folder, PHOTOS, portable=True)


@pytest.mark.parametrize(
    "address", ["s3://", "s3://a", "s3://k:s@photos/a", "s3://photos/a//b", "s3://photos/../a"]
)
def test_what_is_no_address_is_refused(address: str, folder: str) -> None:
    """In one line, which repeats no password."""
    with pytest.raises(FolderError) as told:
        _index(folder, address)
    assert "k:s" not in str(told.value)


def test_an_address_has_one_spelling() -> None:
    """Slashes at its end say nothing."""
    assert normal("s3://photos/trip//") == PHOTOS
    assert normal("s3://photos/") == "s3://photos"


def test_a_secret_with_any_character_is_not_shown(folder: str) -> None:
    """AWS's keys hold slashes; all up to the last @ is left out."""
    for address in ("s3://AKIA:ab/cd@b/x", "s3://AKIA:ab@cd@b/x", "s3://AKIA:ab@b/x"):
        with pytest.raises(FolderError) as told:
            _index(folder, address)
        assert not any(part in str(told.value) for part in ("AKIA", "ab", "cd"))
    assert display_path("s3://photos/me@home.png") == "s3://photos/me@home.png"


def test_an_example_that_is_no_address_is_refused(photos: Bucket, folder: str) -> None:
    """In one line: `query --image` shows no secret and ends in no traceback."""
    for address in ("s3://photos/a//b.png", "s3://photos/a\nb.png", "s3://AKIA:ab/cd@photos/x.png"):
        with pytest.raises(InputError) as told:
            examples.read_picture(address, PixelBudget(1, 1 << 20))
        assert "AKIA" not in str(told.value)
        assert "\n" not in str(told.value)


def test_a_single_object_stays_where_its_bucket_can_t_be_listed(photos: Bucket, folder: str) -> None:
    """That it is not there counts only from a server that lists its bucket."""
    _index(folder, f"{PHOTOS}/a.png")
    photos.objects.delete("trip/a.png")
    photos.is_listed = False
    result = _index(folder)
    assert (result.pruned, len(_paths(folder))) == (0, 1)
    assert "there is no such bucket" in result.left_alone[PHOTOS]
    photos.is_listed = True
    assert _index(folder).pruned == 1


def test_the_marker_of_a_folder_is_no_object(
    photos: Bucket, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that holds nothing but it is an empty one, which prunes nothing."""
    _index(folder, PHOTOS)

    def only_the_marker(prefix: str | None, chunk_size: int) -> Iterator[Any]:
        yield [{**photos.objects.head("trip/a.png"), "path": "trip"}]

    monkeypatch.setattr(photos, "list", only_the_marker)
    assert _index(folder).pruned == 0
    assert len(_paths(folder)) == 3


def test_an_object_that_is_a_root_of_its_own_is_in_no_other(photos: Bucket, folder: str) -> None:
    """Indexed by itself first, it stands in the index once."""
    _index(folder, f"{PHOTOS}/a.png")
    _index(folder, PHOTOS)
    with ImageIndex(folder) as index:
        assert sum(len(list(index.catalog.files(root.id))) for root in index.catalog.roots()) == 3


def test_a_bucket_called_like_an_image_is_a_folder(photos: Bucket, folder: str) -> None:
    """What has no key is a whole bucket."""
    assert _index(folder, "s3://my.photos.png").indexed == 4
    with ImageIndex(folder) as index:
        assert [root.path for root in index.catalog.roots()] == ["s3://my.photos.png"]


def test_a_slash_at_the_end_says_that_it_is_a_folder(photos: Bucket, folder: str) -> None:
    """A prefix called like an image is one where it is typed so, and stays one."""
    photos.objects.put("scans.png/a.png", _image(9))
    assert _index(folder, "s3://photos/scans.png/").indexed == 1
    assert _index(folder, "s3://photos/scans.png").unchanged == 1
    assert _index(folder).unchanged == 1
    with ImageIndex(folder) as index:
        assert [root.path for root in index.catalog.roots()] == ["s3://photos/scans.png"]


def test_an_object_that_kills_a_run_is_a_suspect(photos: Bucket, tmp_path: Path) -> None:
    """What was being decoded when a run died is known by its note, though no file system has it."""
    source = SourceFile(PHOTOS, "a.png", 10, 20)
    note = DecodingNote(str(tmp_path))
    with note.decoding(source):
        (tmp_path / "copy").write_bytes((tmp_path / NOTE).read_bytes())
    note.close()
    os.replace(tmp_path / "copy", tmp_path / NOTE)
    again = DecodingNote(str(tmp_path))
    assert again.is_suspect(source)
    assert not again.is_suspect(SourceFile(PHOTOS, "a.png", 10, 21))
    again.close()


def test_an_address_is_absolute_as_it_is() -> None:
    """No folder of this machine is put before it; of a path one is."""
    assert absolute(PHOTOS + "/") == PHOTOS
    assert absolute("s3://photos/a//b") == "s3://photos/a//b"
    assert absolute("~/a") == os.path.expanduser("~/a")
    assert absolute("a") == os.path.abspath("a")


def test_a_search_is_confined_to_a_prefix(photos: Bucket, folder: str) -> None:
    """Also to one without an indexed image; one in no root is named as it was given."""
    _index(folder, PHOTOS)
    with ImageIndex(folder) as index:
        assert below_of(index, f"{PHOTOS}/sub/") == f"{PHOTOS}/sub"
        assert below_of(index, f"{PHOTOS}/empty") == f"{PHOTOS}/empty"
        with pytest.raises(UsageError, match=": s3://photos/other is not in an indexed folder"):
            below_of(index, "s3://photos/other")


def test_the_last_answer_is_confined_to_the_same_prefix(
    photos: Bucket, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`query --in s3://…` and then `query --more 1` search in the same place."""
    _index(folder, PHOTOS)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = imgsearch("query", "red", "--in", PHOTOS, "--index", folder, "--json")
    assert done.code == 0, done.err
    last = last_answer()
    assert last is not None
    assert list(last.below) == [PHOTOS]


def test_part_of_a_bucket_comes_back(photos: Bucket, folder: str) -> None:
    """What is removed of a root and not excluded is indexed by the next run: `remove` says so."""
    _index(folder, PHOTOS)
    told = fakes.Notes()
    remove_paths([f"{PHOTOS}/sub"], folder, reporter=told)
    assert "comes back" in told.text


def test_no_folder_moves_into_a_bucket(photos: Bucket, folder: str, tmp_path: Path) -> None:
    """`relocate` says what to do instead."""
    with pytest.raises(FolderError, match=r"is in a bucket, .* index it, then remove"):
        relocate(str(tmp_path), PHOTOS, folder)


def test_an_object_that_can_t_be_read_is_not_called_missing(photos: Bucket) -> None:
    """Whether it is there takes a network to know."""
    photos.is_there = False
    assert load(f"{PHOTOS}/a.png", None, "", 100) == UNREADABLE


def test_commands_take_an_address(
    photos: Bucket, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`similar` and `query` by an indexed object and by one that is not, --more after --in; `open` says why not."""
    _index(folder, PHOTOS)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for asked in (
        ("similar", f"{PHOTOS}/a.png"),
        ("similar", "s3://photos/other/c.png"),
        ("query", f"red + {PHOTOS}/a.png"),
        ("query", "red", "--in", f"{PHOTOS}/"),
        ("query", "--more", "1"),
    ):
        done = imgsearch(*asked, "--index", folder, "--json")
        assert done.code == 0, done.err
        assert done.objects
    done = imgsearch("open", f"{PHOTOS}/a.png")
    assert done.code == 2
    assert "is in a bucket; viewers open files of this machine only" in done.err
