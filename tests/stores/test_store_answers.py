"""What a store answers beyond a plain search, as the index does: --cut, --explain, and more or less like an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import InputError, UsageError
from imgsearch.index.metadata.filters import Rated, Taken
from imgsearch.search import Answer, SearchRequest
from imgsearch.search import ask as ask_index
from imgsearch.search.hits import SearchOptions
from imgsearch.search.ranking.feedback import Feedback
from imgsearch.tools.stores import VectorStore, answers
from imgsearch.tools.stores.answers import OFFERS, ask
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.sync import sync
from imgsearch.types import Hit, Input, Vectors
from support.fakes import DIM, sha, unit
from support.stores import ENGINES, MemoryStore, image, local_store, milvus_store

_COUNT = 240
_CLUSTER = 12


def test_many_frames_of_few_films_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the nearest images a store can give are all of one film, that film is the answer."""
    monkeypatch.setattr(answers, "MOST_HITS", 16)
    film, store = image(1).files, MemoryStore()
    store.upsert(
        [
            dataclasses.replace(image(1), id=page, page=page, kind="frame", files=film)
            for page in range(1, 41)
        ],
        np.concatenate([unit(1, page) for page in range(1, 41)]).astype(np.float32),
    )
    found = ask(store, SearchRequest("query", "film", options=SearchOptions(n=3)), Towards())
    assert len(found.hits) == 1


def test_a_link_and_an_address_are_what_they_are_to_an_index(tmp_path: Path) -> None:
    """A folder is asked for as somebody wrote it and without links; an address stays one."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert answers.known_paths([str(tmp_path / "link"), "s3://photos/a/"]) == (
        str(tmp_path / "link"),
        str((tmp_path / "there").resolve()),
        "s3://photos/a",
    )


class Towards:
    """A model to which each query is the middle of a cluster."""

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        return np.concatenate([_middle() for _ in inputs])


def _middle() -> Vectors:
    return np.asarray(unit(1, 5_000), np.float32)


def _rows() -> Vectors:
    """Return vectors of which the first few lie around the query, and the others anywhere."""
    found = np.concatenate([unit(1, 9_000 + number) for number in range(_COUNT)])
    found[:_CLUSTER] = _middle() + 0.25 * found[:_CLUSTER]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.reshape(_COUNT, DIM).astype(np.float32)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """Give an index of a cluster among others."""
    made = local_store(tmp_path_factory.mktemp("answers") / "index")
    made.upsert([image(number) for number in range(_COUNT)], _rows())
    yield made
    made.close()


@pytest.fixture(scope="module", params=["memory", *(name for name in ENGINES if name == "milvus")])
def store(request: pytest.FixtureRequest, local: LocalStore) -> Iterator[VectorStore]:
    """Give a store that holds the same."""
    made: VectorStore = (
        MemoryStore() if request.param == "memory" else milvus_store(request.getfixturevalue("server"))
    )
    sync(local.index, made)
    yield made
    made.close()


def both(local: LocalStore, store: VectorStore, **asked: object) -> tuple[Answer, Answer]:
    """Return what the index and what the store answers."""
    given = {"text": "anything", **asked}
    request = SearchRequest("query", **given)  # type: ignore[arg-type]
    return ask_index(local.index, request, Towards()), ask(store, request, Towards())


def contents(hits: Sequence[Hit]) -> set[bytes]:
    """Return what was found; scores are true to 1e-3, so that neighbours may stand in another order."""
    return {hit.sha256 for hit in hits}


@pytest.mark.parametrize("filters", [(), (Rated(1),)], ids=["all", "filtered"])
def test_an_answer_ends_where_chance_begins(
    local: LocalStore, store: VectorStore, filters: tuple[Rated, ...]
) -> None:
    """--cut auto leaves the images that it leaves of the index's answer, and names the same ones as nearest."""
    options = SearchOptions(n=40, cut="auto", filters=filters)
    mine, stores = both(local, store, options=options)
    assert mine.cut is not None and stores.cut is not None  # noqa: PT018
    assert stores.cut.count == mine.cut.count
    assert contents(stores.hits) == contents(mine.hits)
    assert contents(stores.nearest) == contents(mine.nearest)
    if not filters:
        assert _CLUSTER <= len(stores.hits) < 40


def test_an_explanation_is_the_same(local: LocalStore, store: VectorStore) -> None:
    """--explain tells of each result how far it is from chance, and which filters it passes."""
    options = SearchOptions(n=5, explain=True, filters=(Taken(None, None), Rated(1)))
    mine, stores = both(local, store, options=options)
    found = {hit.sha256: hit for hit in stores.hits}
    assert contents(stores.hits) == contents(mine.hits)
    for one in mine.hits:
        other = found[one.sha256]
        assert one.why is not None and other.why is not None  # noqa: PT018
        assert other.why.matched == one.why.matched
        assert other.why.spreads == pytest.approx(one.why.spreads, abs=0.01)
        assert other.why.stands_out == one.why.stands_out


def test_more_and_less_move_the_query(local: LocalStore, store: VectorStore) -> None:
    """Images to be found more of and less of change the answer as they change the index's; the latter are left out."""
    more, less = ((sha("stored 3"), 0),), ((sha("stored 5"), 0),)
    mine, stores = both(local, store, more=more, less=less, options=SearchOptions(n=15))
    assert contents(stores.hits) == contents(mine.hits)
    assert sha("stored 5") not in contents(stores.hits)
    assert stores.asked is not None
    assert (stores.asked.more, stores.asked.less) == (more, less)


def test_an_earlier_query_is_refined(local: LocalStore, store: VectorStore) -> None:
    """A request that refines another one needs no model."""
    earlier = Feedback(_middle(), of_image=False)
    more = ((sha("stored 200"), 0),)
    mine, stores = both(local, store, text=None, refines=earlier, more=more)
    assert contents(stores.hits) == contents(mine.hits)


def test_an_image_that_is_not_there_is_said(store: VectorStore) -> None:
    """More like an image that the store does not hold is one line."""
    request = SearchRequest("query", "anything", more=((sha("nowhere"), 0),))
    with pytest.raises(InputError, match="no longer indexed"):
        ask(store, request, Towards())


def test_what_is_offered_is_not_refused(store: VectorStore) -> None:
    """OFFERS and the refusals are two sides of one thing."""
    refused = {
        "stacks": SearchOptions(stacks=True),
        "names": SearchOptions(names=1.0),
        "image_text": SearchOptions(image_text="only"),
        "rerank": SearchOptions(rerank=3),
        "dim": SearchOptions(dim=DIM - 1),
        "exact": SearchOptions(exact=True),
    }
    assert not OFFERS & refused.keys()
    for name, options in refused.items():
        with pytest.raises(UsageError) as raised:
            ask(store, SearchRequest("query", "anything", options=options), Towards())
        assert raised.value.option == name
