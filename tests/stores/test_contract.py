"""The contract of VectorStore, asked of each store: the local index always, the engines by `make stores`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pytest

from imgsearch.index.metadata.file_filters import Named, Screenshot, Typed
from imgsearch.index.metadata.filters import (
    FACTS,
    SHAPES,
    Camera,
    Filter,
    Has,
    Keyword,
    Lens,
    Near,
    Rated,
    Shape,
    Sized,
    Taken,
)
from imgsearch.index.rows import IndexedFile
from imgsearch.tools.stores import SHARDS, VectorStore, Wanted, fields, shard_of
from imgsearch.tools.stores.judging import judged
from imgsearch.types import NO_METADATA
from support.fakes import DIM, sha, unit
from support.stores import ENGINES, image, lite_store, local_store, milvus_store, rows

NUMBERS = list(range(1, 61))


@pytest.fixture(scope="module", params=["local", *ENGINES])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    """Give a store of each kind."""
    folder = tmp_path_factory.mktemp("stores")
    if request.param == "local":
        store: VectorStore = local_store(folder / "index")
    elif request.param == "milvus":
        store = milvus_store(request.getfixturevalue("server"))
    else:
        store = lite_store(folder)
    yield store
    store.close()


@pytest.fixture
def store(opened: VectorStore) -> VectorStore:
    """Give a store that holds the invented images 1 to 60, and nothing else."""
    known = {found.key: dataclasses.replace(found, id=0, crc=0) for found in opened.iterate()}
    wanted = {number: dataclasses.replace(image(number), id=0, crc=0) for number in NUMBERS}
    if surplus := known.keys() - {one.key for one in wanted.values()}:
        opened.delete(list(surplus))
    if changed := [number for number, one in wanted.items() if known.get(one.key) != one]:
        opened.upsert([image(number) for number in changed], rows(changed))
    return opened


def ids(found: list[tuple[object, float]]) -> list[bytes]:
    return [hit.sha256 for hit, _ in found]  # type: ignore[attr-defined]


def test_what_was_put_in_is_found_at_once(store: VectorStore) -> None:
    """An image that upsert has acknowledged is the best result of the next search for its vector."""
    store.upsert([image(100)], rows([100]))
    (hits,) = store.search(unit(1, 100), 3)
    assert hits[0][0].sha256 == sha("stored 100")
    assert hits[0][1] == pytest.approx(1, abs=1e-3)
    assert store.count() == len(NUMBERS) + 1


def test_the_nearest_come_first_with_their_cosines(store: VectorStore) -> None:
    """A search returns the k nearest images in the order of their cosines, with these."""
    asked = unit(2, 7_000)
    cosines = unit_rows() @ asked.T
    for number, hits in enumerate(store.search(asked, 10)):
        best = np.sort(cosines[:, number])[::-1][:10]
        assert [score for _, score in hits] == pytest.approx(list(best), abs=1e-3)


def unit_rows() -> np.ndarray:
    stored = rows(NUMBERS).astype(np.float64)
    return stored / np.linalg.norm(stored, axis=1, keepdims=True)


def test_what_was_deleted_is_gone_at_once(store: VectorStore) -> None:
    """A deleted image is in no search, no count and no list; one that is not there is deleted without complaint."""
    store.delete([image(5).key, image(999).key])
    (hits,) = store.search(unit(1, 5), len(NUMBERS))
    assert sha("stored 5") not in ids(hits)
    assert store.count() == len(NUMBERS) - 1
    assert image(5).key not in {found.key for found in store.iterate()}


def test_putting_it_in_again_changes_nothing(store: VectorStore) -> None:
    """The same upsert twice leaves what one leaves."""
    before = {found.key for found in store.iterate()}
    store.upsert([image(number) for number in NUMBERS], rows(NUMBERS))
    assert store.count() == len(NUMBERS)
    assert {found.key for found in store.iterate()} == before


def test_an_upsert_replaces_what_is_known(store: VectorStore) -> None:
    """An image that is put in with other files and metadata has these alone."""
    moved = (IndexedFile("/pictures/elsewhere/new.webp", 5, 6, sha("stored 3")),)
    store.upsert([image(3, files=moved)], rows([3]))
    (found,) = (one for one in store.iterate() if one.key == image(3).key)
    assert [file.path for file in found.files] == ["/pictures/elsewhere/new.webp"]
    assert store.count() == len(NUMBERS)


def test_pages_of_one_file_are_images_of_their_own(store: VectorStore) -> None:
    """Two pages with the same content are two images, and one of them can be deleted."""
    pages = [image(70, page=page, kind="page") for page in (0, 3)]
    store.upsert(pages, rows([70, 71]))
    assert store.count() == len(NUMBERS) + 2
    (hits,) = store.search(unit(1, 71), 1)
    assert (hits[0][0].key, hits[0][0].kind) == ((sha("stored 70"), 3), "page")
    store.delete([pages[0].key])
    assert {found.page for found in store.iterate() if found.sha256 == sha("stored 70")} == {3}


def test_what_is_listed_is_what_was_put_in(store: VectorStore) -> None:
    """Iterating gives every image once, with its files, size and metadata."""
    found = {one.key: dataclasses.replace(one, id=0, crc=0) for one in store.iterate()}
    wanted = [image(number) for number in NUMBERS]
    assert found == {one.key: dataclasses.replace(one, id=0, crc=0) for one in wanted}


def test_names_that_are_not_utf8_come_back(store: VectorStore) -> None:
    """A file's name keeps its bytes, whatever they are."""
    odd = '/pictures/odd \udcff "quoted" \\ 100% \u2028 snow☃.jpg'
    store.upsert([image(80, files=(IndexedFile(odd, 1, 2, sha("stored 80")),))], rows([80]))
    (found,) = store.iterate(Wanted(below=(odd,)))
    assert found.files[0].path == odd


def test_digests_tell_of_every_image_in_its_shard(store: VectorStore) -> None:
    """Each shard's digests are those of its images, and the shards together hold all of them."""
    found = {shard: dict(store.digests(shard)) for shard in range(SHARDS)}
    told = {one.key: fields.digest(fields.about(one)) for one in store.iterate()}
    assert {key: value for some in found.values() for key, value in some.items()} == told
    assert all(shard_of(sha256) == shard for shard, some in found.items() for sha256, _ in some)


def test_vectors_come_back_by_their_keys(store: VectorStore) -> None:
    """Vectors are returned in the order of the keys, zeros for an image that is not there."""
    found = store.vectors([image(9).key, image(999).key, image(4).key])
    assert found.dtype == np.float32
    assert np.allclose(found[[0, 2]], rows([9, 4]), atol=1e-3)
    assert not found[1].any()


FILTERS: list[Filter] = [
    Taken(datetime(2018, 1, 1), datetime(2021, 6, 1)),
    Taken(None, datetime(2018, 1, 1)),
    Taken(datetime(2020, 1, 1), None),
    Camera("x-t5"),
    Camera("eos"),
    Camera('no "such" \\ camera%'),
    Lens("35MM"),
    Rated(3),
    Rated(0),
    Keyword("HOLIDAY"),
    Keyword("day 3"),
    Keyword('a "quoted" \\ word'),
    *(Shape(name) for name in SHAPES),
    Sized(pixels=300_000, name="0.3"),
    Sized(longer=600, shorter=500, name="sides"),
    *(Has(fact) for fact in FACTS),
    Near(20.0, 20.0, 800),
    Near(89.0, 0.0, 2000),
    Near(0.0, -179.0, 2000),
    Named("IMG_001*.jpg"),
    Named("*2.*"),
    Typed(("jpg", "jpeg"), ("jpeg",)),
    Screenshot(True),
    Screenshot(False),
]


def passing(wanted: Wanted) -> set[bytes]:
    """Return what the filters say of the images themselves; a local store asks SQL, and an engine its own language."""
    every = [image(number) for number in NUMBERS]
    return {one.sha256 for one, passes in zip(every, judged(every, wanted), strict=True) if passes}


@pytest.mark.parametrize("one", FILTERS, ids=lambda one: one.sentence())
def test_a_search_with_a_filter_finds_what_passes(store: VectorStore, one: Filter) -> None:
    """With a filter, search, list and count tell of those images that pass it, and of all of them."""
    wanted = Wanted((one,))
    expected = passing(wanted)
    (hits,) = store.search(unit(1, 7_001), len(NUMBERS), wanted)
    assert set(ids(hits)) == expected
    assert {found.sha256 for found in store.iterate(wanted)} == expected
    assert store.count(wanted) == len(expected)


def test_several_filters_are_all_meant(store: VectorStore) -> None:
    """An image has to pass every filter, and lie in the folder."""
    wanted = Wanted((Camera("fuji"), Rated(1), Typed(("jpg",), ("jpg",))), ("/pictures/a",))
    (hits,) = store.search(unit(1, 7_002), 20, wanted)
    assert set(ids(hits)) == passing(wanted)
    assert hits


def test_one_file_has_to_be_all_of_it(store: VectorStore) -> None:
    """Of an image with two files, the folder of one and the type of the other don't make it pass."""
    key = sha("stored 90")
    files = (IndexedFile("/pictures/x/one.jpg", 1, 1, key), IndexedFile("/pictures/y/two.png", 1, 1, key))
    store.upsert([image(90, files=files)], rows([90]))
    png = Typed(("png",), ("png",))
    assert {found.sha256 for found in store.iterate(Wanted((png,), ("/pictures/x",)))} == set()
    assert {found.sha256 for found in store.iterate(Wanted((png,), ("/pictures/y",)))} == {key}


def test_few_that_pass_are_found_among_many(store: VectorStore) -> None:
    """A filter that only a far image passes finds it, though all others are nearer."""
    wanted = Wanted((Named("IMG_0042.*"),))
    (hits,) = store.search(-unit(1, 42), 5, wanted)
    assert ids(hits) == [sha("stored 42")]


def test_images_without_metadata_pass_no_filter_about_it(store: VectorStore) -> None:
    """Of an image that nobody knows anything of, every filter of metadata says no."""
    store.upsert([image(95, metadata=NO_METADATA, width=0, height=0)], rows([95]))
    for one in FILTERS:
        if not one.of_files:
            assert sha("stored 95") not in {found.sha256 for found in store.iterate(Wanted((one,)))}


def test_asking_for_more_than_there_is_gives_all(store: VectorStore) -> None:
    """k above the number of images returns each of them once."""
    (hits,) = store.search(unit(1, 7_003), 500)
    assert len(hits) == len(set(ids(hits))) == len(NUMBERS)


def test_flush_takes_nothing_away(store: VectorStore) -> None:
    """After a flush everything is as before."""
    store.flush()
    assert store.count() == len(NUMBERS)


@pytest.mark.parametrize("wrong", ["twice", "nan", "dim"])
def test_rows_that_no_store_may_take_are_refused(store: VectorStore, wrong: str) -> None:
    """An image twice in a call, a row that is not finite, and one of another length change nothing."""
    vectors = rows([1, 2])
    images = [image(1), image(1 if wrong == "twice" else 2)]
    if wrong == "nan":
        vectors[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"one|twice"):
        store.upsert(images, vectors[:, : DIM - 1] if wrong == "dim" else vectors)
    assert store.count() == len(NUMBERS)


def test_the_engines_are_asked_too() -> None:
    """The same tests run against a real Milvus and milvus-lite, where these are installed."""
    if not ENGINES:
        pytest.skip("make stores installs a Milvus server and milvus-lite, and asks them all of this")
    assert set(ENGINES) == {"milvus", "milvus-lite"}
