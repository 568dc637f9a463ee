"""Names, titles and keywords have a say in the order of hits, as much as is asked for."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.index.metadata.filters import Has
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest, answer, query
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.question import Part
from imgsearch.search.ranking.fusion import K, fused, matched_words
from imgsearch.search.several import ask_all
from imgsearch.types import Input
from support import fakes
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model

RANKINGS = st.lists(
    st.tuples(st.floats(0.01, 10), st.lists(st.integers(0, 9), unique=True, max_size=8)), max_size=3
)


@given(RANKINGS)
def test_fusion_is_the_sum_of_reciprocal_ranks(rankings: list[tuple[float, list[int]]]) -> None:
    """Everything that stands in a ranking comes out once, in the order of the sums of weight / (60 + rank)."""
    found = fused(rankings)
    assert sorted(found) == sorted({item for _, ranking in rankings for item in ranking})
    sums = [
        sum(weight / (K + ranking.index(item) + 1) for weight, ranking in rankings if item in ranking)
        for item in found
    ]
    assert all(first >= second - 1e-12 for first, second in itertools.pairwise(sums))


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of red images, and a blue one that is called red."""
    for name, colour in (
        ("a", "red"),
        ("b", (240, 10, 10)),
        ("red boat", "blue"),
        ("c", (200, 40, 40)),
        ("green", "green"),
    ):
        paint(tmp_path / "photos" / f"{name}.png", colour)
    run(tmp_path / "ix", tmp_path / "photos")
    return str(tmp_path / "ix")


def found(index: str, fake_model: FakeModel, text: str, **options: object) -> list[tuple[str, float]]:
    """Return the names and scores of what a query finds."""
    with ImageIndex(index) as opened:
        request = SearchRequest("query", text, options=SearchOptions(**options))  # type: ignore[arg-type]
        hits = answer(opened, request, fake_model.encoder())
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        return [(Path(hit.path).stem, hit.score) for hit in hits]


def test_a_name_brings_an_image_forward_and_its_score_stays_the_cosine(
    index: str, fake_model: FakeModel
) -> None:
    """With a weight, the image that is called so comes first; without, it stands where what it shows puts it."""
    plain = found(index, fake_model, "red")
    named = found(index, fake_model, "red", names=5.0)
    assert plain[0][0] == "a"
    assert named[0][0] == "red boat"
    assert dict(named) == pytest.approx(dict(plain))
    assert found(index, fake_model, "red", names=0.0) == plain


def test_an_image_found_only_by_its_name_has_its_exact_cosine(index: str, fake_model: FakeModel) -> None:
    """It is shown although others are nearer, with the score that it would have without its name."""
    scores = dict(found(index, fake_model, "red"))
    assert found(index, fake_model, "red", names=5.0, n=1) == [
        ("red boat", pytest.approx(scores["red boat"]))
    ]


def test_a_small_weight_changes_less_than_a_large_one(index: str, fake_model: FakeModel) -> None:
    """An image that is both called so and looks so stays first, and one that is only called so is not last."""
    names = [name for name, _ in found(index, fake_model, "red", names=0.01)]
    assert names[:3] == ["a", "b", "c"]


def test_filters_and_thresholds_hold_for_what_is_found_by_name(
    index: str, fake_model: FakeModel, tmp_path: Path
) -> None:
    """A name leads past no filter, no folder and no score."""
    assert found(index, fake_model, "red", names=5.0, filters=(Has("gps"),)) == []
    (tmp_path / "photos" / "sub").mkdir()
    paint(tmp_path / "photos" / "sub" / "x.png", "red")
    run(index, tmp_path / "photos")
    below = (str(tmp_path / "photos" / "sub"),)
    assert [name for name, _ in found(index, fake_model, "red", names=5.0, below=below)] == ["x"]
    assert "red boat" not in dict(found(index, fake_model, "red", names=5.0, min_score=0.9))
    assert "red boat" not in dict(found(index, fake_model, "red", names=5.0, within=10))


def test_words_without_a_name_are_no_difference(index: str, fake_model: FakeModel) -> None:
    """A query whose words stand nowhere finds what it finds without names."""
    assert found(index, fake_model, "blue", names=5.0) == found(index, fake_model, "blue")


def test_the_added_parts_of_a_query_are_looked_for(index: str, fake_model: FakeModel) -> None:
    """Of a query of several parts, the words that are taken away are not looked for in names."""
    with ImageIndex(index) as opened:
        options = SearchOptions(names=20.0)
        parts = (Part("red"), Part("green", weight=-0.1))
        hits = answer(opened, SearchRequest("query", options=options, parts=parts), fake_model.encoder())
        assert Path(hits[0].path).stem == "red boat"
        assert Path(hits[-1].path).stem == "green"
        (several,) = query(opened, fake_model.encoder(), [Input("green")], options)
        assert Path(several[0].path).stem == "green"


def test_what_matched_is_told_for_each_hit(index: str, fake_model: FakeModel) -> None:
    """For each hit, in order, the words that its names have are told."""
    with ImageIndex(index) as opened:
        request = SearchRequest("query", "a red boat", options=SearchOptions(names=5.0, n=2))
        hits = answer(opened, request, fake_model.encoder())
        told = matched_words(opened, hits, "a red boat")
    assert told == [{"name": ["red", "boat"]}, {}]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_from_0_on(weight: float) -> None:
    """What can't be a weight is refused, with the option's name."""
    with pytest.raises(UsageError, match=r"^names"):
        SearchOptions(names=weight)


def test_names_have_their_say_over_several_indexes(index: str, fake_model: FakeModel, tmp_path: Path) -> None:
    """An image that its index puts first for its name is among the first of all, whatever its score."""
    paint(tmp_path / "other" / "d.png", "red")
    run(tmp_path / "second", tmp_path / "other")
    request = SearchRequest("query", "red", options=SearchOptions(names=5.0))
    with ImageIndex(index) as one, ImageIndex(str(tmp_path / "second")) as two:
        hits = ask_all([one, two], request, [fake_model.encoder()] * 2).hits
        plain = ask_all([one, two], SearchRequest("query", "red"), [fake_model.encoder()] * 2).hits
    assert {Path(hit.path).stem for hit in hits[:2]} == {"red boat", "d"}
    assert "red boat" not in {Path(hit.path).stem for hit in plain[:2]}


def test_a_cut_keeps_what_is_called_so_and_explain_tells_it(fake_model: FakeModel, tmp_path: Path) -> None:
    """An image that stands out by its name alone is not cut off, and the words that matched are told."""
    for number in range(60):
        paint(tmp_path / "photos" / f"{number}.png", (number, 250 - number, 4 * number))
    paint(tmp_path / "photos" / "red boat.png", "green")
    run(tmp_path / "ix", tmp_path / "photos")
    named = found_with_why(
        str(tmp_path / "ix"), fake_model, SearchOptions(names=5.0, cut="auto", explain=True)
    )
    assert named["red boat"] == ("name: red, boat",)
    plain = found_with_why(str(tmp_path / "ix"), fake_model, SearchOptions(cut="auto", explain=True))
    assert "red boat" not in plain


def found_with_why(index: str, fake_model: FakeModel, options: SearchOptions) -> dict[str, tuple[str, ...]]:
    """Return what matched of the hits for "red boat", by their names."""
    with ImageIndex(index) as opened:
        hits = answer(opened, SearchRequest("query", "red boat", options=options), fake_model.encoder())
    return {Path(hit.path).stem: hit.why.matched for hit in hits if hit.why}
