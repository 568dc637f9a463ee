"""What is done with an index of a bucket beside searching it: compared, collected, exported, its text read."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from imgsearch.errors import InputError, UsageError
from imgsearch.files import bucket
from imgsearch.files.bucket import BucketError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.run import index_pictures
from imgsearch.tools.collect import Result
from imgsearch.tools.collect.folder import copy_to, link_to
from imgsearch.tools.maintenance.duplicates import find_duplicates
from imgsearch.tools.maintenance.originals import compare_originals
from imgsearch.tools.maintenance.removal_script import write_script
from imgsearch.tools.mcp.images import Images, names_image
from imgsearch.tools.transfer.exporter import export
from imgsearch.tools.transfer.importer import import_vectors
from imgsearch.tools.transfer.paths import PathResolver
from imgsearch.tools.web.asked import Chosen
from support import fakes
from support.pictures import encode, scene
from support.text_reader import install

fake_model = fakes.fake_model
pytestmark = pytest.mark.usefixtures("fake_model")
TRIP = "s3://photos/trip"


def _image(seed: int) -> bytes:
    return encode(scene(seed, (40, 30)), ".png")


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    store = MemoryStore()
    monkeypatch.setattr(bucket, "_store", lambda name: store)
    monkeypatch.setattr(bucket, "_gone", {})
    for number, name in enumerate("abc"):
        store.put(f"trip/{name}.png", _image(number))
    return store


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def _index(folder: str, *paths: str, ocr: bool | None = None) -> IndexResult:
    return index_pictures(paths, folder, IndexOptions(thumbs=False, ocr=ocr))


def test_originals_in_a_bucket_are_compared(
    photos: MemoryStore, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is fetched: one is as it was, one has other bytes, one was deleted; out of reach none is missing."""
    _index(folder, TRIP)
    photos.put("trip/b.png", _image(7))
    photos.delete("trip/c.png")
    report = compare_originals(folder)
    assert (report.same, report.changed, report.missing) == (1, [f"{TRIP}/b.png"], 1)

    def gone(name: str) -> MemoryStore:
        raise BucketError("the server can't be reached")

    monkeypatch.setattr(bucket, "_store", gone)
    report = compare_originals(folder)
    assert (report.same, report.missing, report.unreadable) == (0, 0, 3)


def test_duplicates_in_a_bucket_are_found(photos: MemoryStore, folder: str, tmp_path: Path) -> None:
    """Without a look at the bucket; the script removes an object by the tool for that."""
    photos.put("trip/again.png", _image(0))
    _index(folder, TRIP)
    found = find_duplicates(folder)
    assert found.left_out == 0
    (group,) = found.groups
    assert {group.keep.path, *(file.path for file in group.others)} == {f"{TRIP}/a.png", f"{TRIP}/again.png"}
    write_script(str(tmp_path / "remove.sh"), found.groups)
    assert f"# aws s3 rm {TRIP}/a" in (tmp_path / "remove.sh").read_text()


def test_an_object_is_copied_and_never_linked(photos: MemoryStore, tmp_path: Path) -> None:
    """A copy has its bytes and its time, once; a link would lead nowhere, which one line says."""
    results = [Result(1, f"{TRIP}/a.png"), Result(2, f"{TRIP}/none.png")]
    for made in (1, 0):
        done = copy_to(str(tmp_path / "copies"), results)
        assert (done.made, done.failed) == (made, {f"{TRIP}/none.png": "not there now"})
    assert (tmp_path / "copies" / "a.png").read_bytes() == _image(0)
    assert os.stat(tmp_path / "copies" / "a.png").st_mtime > 1_000_000_000
    done = link_to(str(tmp_path / "links"), results[:1])
    assert done.made == 0
    assert "it is in a bucket" in done.failed[f"{TRIP}/a.png"]


def test_an_exported_index_of_a_bucket_is_imported(photos: MemoryStore, folder: str, tmp_path: Path) -> None:
    """Its addresses stay what they are, and a run over the bucket finds nothing to do."""
    _index(folder, TRIP)
    export(str(tmp_path / "out.npy"), folder)
    other = str(tmp_path / "other")
    done = import_vectors(str(tmp_path / "out.npy"), str(tmp_path / "out.paths.txt"), other)
    assert done.imported == 3
    with ImageIndex(other) as index:
        assert [root.path for root in index.catalog.roots()] == [TRIP]
    assert _index(other).unchanged == 3


def test_addresses_in_a_list_are_in_their_bucket() -> None:
    """Names below an address are joined to it; what two buckets share is no folder."""
    assert PathResolver((), TRIP).file("sub/a.png") == (f"{TRIP}/sub/a.png", "")
    assert PathResolver((), None).file("s3://photos/a//b.png")[1]
    resolver = PathResolver((), None)
    for name in ("s3://photos/x/a.png", "s3://photos/y/z/b.png"):
        resolver.add(resolver.file(name)[0])
    resolver.choose_new_root(False)
    assert resolver.new == "s3://photos"


def test_the_text_of_a_tar_in_a_bucket_is_read(
    photos: MemoryStore, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images are read one by one, as those of a tar in a folder are."""
    reader = install(monkeypatch)
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as file:
        for number in range(2):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(_image(20 + number))
            file.addfile(member, io.BytesIO(_image(20 + number)))
    photos.put("shards/0.tar", shard.getvalue())
    assert _index(folder, "s3://photos/shards", ocr=True).texts == 2
    assert len(reader.read_of) == 2


def test_the_page_confines_a_search_to_a_prefix() -> None:
    """A folder of a bucket is as whole a path as any other."""
    assert Chosen.of({"in": [TRIP]}).folders == (TRIP,)
    with pytest.raises(UsageError, match="the whole path"):
        Chosen.of({"in": ["trip"]})


def test_an_assistant_names_an_indexed_object(photos: MemoryStore, folder: str) -> None:
    """By its address, and nothing is fetched for one that the index doesn't have."""
    _index(folder, TRIP)
    photos.put("other/x.png", _image(9))
    with ImageIndex(folder) as index:
        images = Images([index], ())
        assert images.known(TRIP + "/") == TRIP
        assert images.record(f"{TRIP}/a.png").paths == (f"{TRIP}/a.png",)
        with pytest.raises(InputError, match=r"s3://photos/other/x\.png is not in the index"):
            images.record("s3://photos/other/x.png")
    assert names_image(f"{TRIP}/a.png")
