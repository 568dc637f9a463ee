"""What `store sync` compares and repairs: a store is made to hold what the index holds, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import IndexDamaged, StoreError, UsageError
from imgsearch.index.metadata.filters import Taken
from imgsearch.index.rows import IndexedFile
from imgsearch.tools.stores import SHARDS, Wanted, fields
from imgsearch.tools.stores.address import parse
from imgsearch.tools.stores.expressions import fields_of
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.sync import Synced, sync
from imgsearch.types import Metadata
from support.fakes import sha, spec
from support.stores import MemoryStore, image, local_store, rows

NUMBERS = range(1, 41)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    """Give an index of forty images."""
    made = local_store(tmp_path / "index")
    made.upsert([image(number) for number in NUMBERS], rows(NUMBERS))
    yield made
    made.close()


def differences(found: Synced) -> tuple[int, int, int]:
    return found.total("missing"), found.total("changed"), found.total("surplus")


def test_an_empty_store_gets_everything(local: LocalStore) -> None:
    """The first call fills a store; the second finds nothing to do."""
    store = MemoryStore()
    assert differences(sync(local.index, store)) == (40, 0, 0)
    assert {key: fields.about(one) for key, (one, _) in store.kept.items()} == {
        one.key: fields.about(one) for one in local.iterate()
    }
    again = sync(local.index, store)
    assert not again.differs
    assert store.calls.count("upsert") <= SHARDS
    assert again.summary().startswith("40 images; the store holds the same; ")


def test_vectors_arrive_as_they_are(local: LocalStore) -> None:
    """The rows in the store are the index's own float16 numbers."""
    store = MemoryStore()
    sync(local.index, store)
    keys = [image(number).key for number in NUMBERS]
    assert np.array_equal(store.vectors(keys), rows(NUMBERS).astype(np.float32))


def test_what_differs_is_repaired(local: LocalStore) -> None:
    """A missing image is added, one that is the store's alone deleted, and one that differs replaced."""
    store = MemoryStore()
    sync(local.index, store)
    del store.kept[image(3).key]
    other, row = store.kept[image(4).key]
    store.kept[other.key] = dataclasses.replace(other, files=other.files * 2), row
    store.upsert([image(99)], rows([99]))
    found = sync(local.index, store)
    assert differences(found) == (1, 1, 1)
    assert found.summary().startswith("40 images; 1 added, 1 updated, 1 deleted; ")
    assert not sync(local.index, store).differs


def test_another_vector_is_a_difference(local: LocalStore) -> None:
    """An image that was embedded again is put in again."""
    store = MemoryStore()
    sync(local.index, store)
    stored, row = store.kept[image(5).key]
    store.kept[stored.key] = dataclasses.replace(stored, crc=stored.crc ^ 1), row
    assert differences(sync(local.index, store)) == (0, 1, 0)


def test_a_comparison_changes_nothing(local: LocalStore) -> None:
    """Without repair, counts are told by shard, and the store stays as it is."""
    store = MemoryStore()
    found = sync(local.index, store, repair=False)
    assert differences(found) == (40, 0, 0)
    assert not store.kept
    assert [shard.indexed for shard in found.shards] == [
        sum(sha(f"stored {number}")[0] >> 4 == shard for number in NUMBERS) for shard in range(SHARDS)
    ]
    assert found.summary().startswith("40 images; 40 missing; ")


def test_a_deleted_image_leaves_the_store(local: LocalStore) -> None:
    """What is removed from the index is removed from the store."""
    store = MemoryStore()
    sync(local.index, store)
    local.delete([image(7).key])
    assert differences(sync(local.index, store)) == (0, 0, 1)
    assert image(7).key not in store.kept


def test_what_was_interrupted_continues(local: LocalStore) -> None:
    """A store that fails half-way keeps what it has, and the next call adds only the rest."""
    store = MemoryStore()

    def fail(call: str) -> None:
        if call == "upsert" and store.calls.count("upsert") > 5:
            raise StoreError("the server is full")

    store.fail = fail
    with pytest.raises(StoreError):
        sync(local.index, store)
    before = len(store.kept)
    assert 0 < before < 40
    store.fail = lambda call: None
    assert differences(sync(local.index, store)) == (40 - before, 0, 0)


def test_a_store_of_another_spec_is_refused(local: LocalStore) -> None:
    """Nothing is put into a store that was made with another model or dimension."""
    with pytest.raises(UsageError, match="dimension 9, not 13"):
        sync(local.index, MemoryStore(spec(9)))


def test_the_images_of_another_index_are_not_deleted_unasked(local: LocalStore, tmp_path: Path) -> None:
    """Where hardly any image of a store is in the index, that is said, and only a call that allows it goes on."""
    store, others = MemoryStore(), range(2_001, 2_801)
    for some in (others[:400], others[400:]):
        store.upsert([image(number) for number in some], rows(some))
    with pytest.raises(UsageError, match=r"it may be another index's\. Nothing was deleted"):
        sync(local.index, store)
    assert {image(number).key for number in others} <= store.kept.keys()
    found = sync(local.index, store, replace=True)
    assert found.total("surplus") == 800
    assert store.kept.keys() == {image(number).key for number in NUMBERS}


def test_what_is_known_of_an_image_fits_into_a_field() -> None:
    """However long a camera, a name, a path, or the list of copies and keywords is."""
    long = "\N{TIBETAN MARK INITIAL YIG MGO MDUN MA}" * 4_000
    told = Metadata(make=long, model=long, lens=long, title=long, keywords=(long,) * 20)
    copies = tuple(IndexedFile(f"/pictures/{number}/{long[:300]}", 1, 1, sha("1")) for number in range(200))
    text = fields.about(image(1, metadata=told, name=long, files=copies))
    assert len(text) <= fields.MOST_BYTES
    assert fields.read((sha("1"), 0), text).files == copies[: len(json.loads(text)["files"])]


def test_many_copies_cost_no_keyword() -> None:
    """Of an image with too many files the last files are left out, and its keywords stay."""
    copies = tuple(IndexedFile(f"/pictures/{'x' * 200}/{number}", 1, 1, sha("1")) for number in range(900))
    told = fields.read((sha("1"), 0), fields.about(image(1, files=copies)))
    assert told.metadata.keywords == image(1).metadata.keywords
    assert 100 < len(told.files) < 900


@pytest.mark.parametrize(
    "address",
    [
        "milvus://root:pa/ss@localhost/photos",
        "milvus://root:p@pass@localhost/photos",
        "root:pass@localhost/photos",
        "milvus://localhost/photos?token=pass",
        "milvus://localhost:99999/photos?token=pass",
    ],
)
def test_an_address_that_is_refused_shows_no_password(address: str) -> None:
    """What is said of it is without what somebody must not have typed."""
    with pytest.raises(UsageError) as refused:
        parse(address)
    assert "pa" not in str(refused.value).replace("password", "").replace("no address", "")


def test_a_damaged_embedding_is_not_passed_on(local: LocalStore) -> None:
    """An embedding that does not match its checksum is named with its image, and how to repair it."""
    segment = Path(local.index.data) / "vectors" / "00000001.f16"
    data = bytearray(segment.read_bytes())
    data[-2] ^= 0xFF
    segment.write_bytes(data)
    with pytest.raises(IndexDamaged, match="does not match its checksum"):
        sync(local.index, MemoryStore())


def test_figures_that_make_no_sense_are_passed_over(local: LocalStore) -> None:
    """A date that no calendar has, a rating of a thousand and a huge size keep no other image out of a store."""
    with local.index.catalog.transaction() as db:
        db.execute("UPDATE metadata SET taken = ?, rating = 1000", (2**62,))
        db.execute("UPDATE content SET width = ?", (2**40,))
    store = MemoryStore()
    assert differences(sync(local.index, store)) == (40, 0, 0)
    assert not list(store.iterate(Wanted((Taken(datetime(2000, 1, 1), None),))))
    assert len(fields_of(list(store.iterate()))) == 40
