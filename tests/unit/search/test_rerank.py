"""Reranking of hits by a model that judges query and image together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.search import Answer, SearchRequest, ask
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.question import Part
from imgsearch.search.several import ask_all
from imgsearch.types import RGB, Hit, Input, ModelOptions
from support import fakes
from support.fakes import COLOURS, FakeModel, paint, run

fake_model = fakes.fake_model

ORDER = ("red", "pink", "orange", "brown", "yellow", "blue")
"""The pictures, nearest to "red" first, as the fake embeds them."""


class LikesBlue:
    """A reranker that finds an image the better the more blue there is in it; it remembers what it was asked."""

    def __init__(self) -> None:
        self.queries: list[Input] = []
        self.judged = 0

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        """Return the share of blue."""
        self.queries.append(query)
        self.judged += len(images)
        return [float(image[..., 2].mean()) / 255 for image in images]


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give an index of six pictures."""
    for name in ORDER:
        paint(tmp_path / "pictures" / f"{name}.png", name)
    run(tmp_path / "ix", tmp_path / "pictures")
    return tmp_path / "ix"


def _ask(folder: Path, fake: FakeModel, reranker: LikesBlue | None, **options: object) -> Answer:
    request = SearchRequest("query", "red", options=SearchOptions(**options))  # type: ignore[arg-type]
    with ImageIndex(str(folder)) as index:
        return ask(index, request, fake.encoder(), reranker)


def _names(hits: Sequence[Hit]) -> list[str]:
    return [Path(hit.path).stem for hit in hits]


def _by_blue(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: -COLOURS[name][2])


def test_the_best_are_judged_and_the_others_follow(index: Path, fake_model: FakeModel) -> None:
    """The first N stand in the reranker's order with its score, the others behind them as they were, without."""
    before = _names(_ask(index, fake_model, None).hits)
    hits = _ask(index, fake_model, LikesBlue(), rerank=3).hits
    assert _names(hits) == _by_blue(before[:3]) + before[3:]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert [hit.rerank is not None for hit in hits] == [True] * 3 + [False] * 3
    assert hits[0].as_json()["rerank"] == pytest.approx(COLOURS[_names(hits)[0]][2] / 255, abs=0.01)
    assert "rerank" not in hits[3].as_json()


def test_more_are_judged_than_shown(index: Path, fake_model: FakeModel) -> None:
    """What stood below those that are shown can come up; places are left out after judging."""
    assert _names(_ask(index, fake_model, LikesBlue(), n=1, rerank=6).hits) == ["blue"]
    every = _by_blue(ORDER)
    assert _names(_ask(index, fake_model, LikesBlue(), n=2, offset=1, rerank=6).hits) == every[1:3]


def test_without_a_reranker_the_answer_is_the_old_one(index: Path, fake_model: FakeModel) -> None:
    """Where judging was given up, the hits are those of a search that never asked for it."""
    plain = _ask(index, fake_model, None, n=2)
    given_up = _ask(index, fake_model, None, n=2, rerank=6)
    assert given_up.hits == plain.hits


def test_a_file_that_is_gone_stays_behind_the_judged_ones(index: Path, fake_model: FakeModel) -> None:
    """An image whose file is missing or another by now is not judged: it stands behind those that are, and is named."""
    pictures = index.parent / "pictures"
    (pictures / "red.png").unlink()
    paint(pictures / "pink.png", "cyan")
    answered = _ask(index, fake_model, LikesBlue(), rerank=6)
    names = _names(answered.hits)
    assert set(names[-2:]) == {"red", "pink"}
    assert names[:-2] == _by_blue([name for name in ORDER if name not in names[-2:]])
    assert [hit.rerank for hit in answered.hits[-2:]] == [None, None]
    assert "red.png: no such file" in " ".join(answered.unjudged)
    assert "pink.png has changed since it was indexed" in " ".join(answered.unjudged)


def test_the_reranker_gets_words_and_example(index: Path, fake_model: FakeModel) -> None:
    """It is told the words of the query as they are, and the pixels of the example given with them."""
    reranker = LikesBlue()
    example = str(index.parent / "pictures" / "blue.png")
    request = SearchRequest("query", "red, like this", example, SearchOptions(rerank=2))
    with ImageIndex(str(index)) as opened:
        ask(opened, request, fake_model.encoder(), reranker)
    (query,) = reranker.queries
    assert query.text == "red, like this"
    assert np.asarray(query.image)[0, 0].tolist() == list(COLOURS["blue"])
    assert reranker.judged == 2


@pytest.mark.parametrize("count", [-1, 21])
def test_too_many_are_refused(count: int) -> None:
    """From 1 to 20 images are judged, and no more."""
    with pytest.raises(UsageError, match=f"rerank={count}: from 1 to 20"):
        SearchOptions(rerank=count)


def test_what_is_no_description_is_refused(index: Path, fake_model: FakeModel) -> None:
    """A query of several parts, and an image to look like, are refused before anything is searched."""
    options = SearchOptions(rerank=3)
    example = str(index.parent / "pictures" / "blue.png")
    asked = [
        SearchRequest("query", options=options, parts=(Part("red", weight=1.0), Part("blue", weight=-1.0))),
        SearchRequest("similar", image=example, options=options),
    ]
    with ImageIndex(str(index)) as opened:
        for request in asked:
            with pytest.raises(UsageError, match="a reranker reads a description"):
                ask(opened, request, fake_model.encoder(), LikesBlue())


def test_hits_of_several_indexes_are_judged_together(index: Path, fake_model: FakeModel) -> None:
    """Indexes whose scores can't be compared get one order by the reranker, each hit with its index."""
    paint(index.parent / "more" / "white.png", "white")
    run(index.parent / "other", index.parent / "more", model=ModelOptions("fake/other"))
    request = SearchRequest("query", "red", options=SearchOptions(rerank=7))
    with ImageIndex(str(index)) as one, ImageIndex(str(index.parent / "other")) as two:
        merged = ask_all([one, two], request, [fake_model.encoder()] * 2, LikesBlue())
        plain = ask_all([one, two], replace(request, options=SearchOptions()), [fake_model.encoder()] * 2)
    assert _names(merged.hits) == _by_blue([*ORDER, "white"])
    assert {hit.index for hit in merged.hits} == {str(index), str(index.parent / "other")}
    assert {hit.path for hit in plain.hits} == {hit.path for hit in merged.hits}
