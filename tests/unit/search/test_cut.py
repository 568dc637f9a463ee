"""Where an answer ends: the rule, on scores that are drawn, and the cut of an index's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imgsearch.errors import UsageError
from imgsearch.index import side_db
from imgsearch.index.metadata import fulltext
from imgsearch.index.metadata.filters import Shape
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest, ask, query, similar
from imgsearch.search.hits import SearchOptions
from imgsearch.search.ranking.cut import FEWEST, TAIL, Background, Cut, find_cut
from imgsearch.types import Input
from support import fakes
from support.fakes import FakeModel, run

fake_model = fakes.fake_model
Scores = NDArray[np.float64]


def noise(count: int, seed: int) -> Scores:
    """Return the scores of images that have nothing to do with a query."""
    return np.random.default_rng(seed).normal(0.25, 0.05, count)


def cut_of(scores: Scores, **options: bool) -> Cut:
    """Return the cut of an index of these scores, as a search finds the best and a sample of them."""
    ordered = np.sort(scores)[::-1]
    step = max(1, -(-len(scores) // 1000))
    return find_cut(ordered[:TAIL], Background(ordered[::step], len(scores)), **options)


@pytest.mark.parametrize("count", [60, 300, 2_000, 20_000])
@pytest.mark.parametrize("of_image", [False, True])
def test_noise_seldom_stands_out(count: int, of_image: bool) -> None:
    """Of queries that nothing in the index has to do with, most are answered with nothing."""
    found = [cut_of(noise(count, seed), of_image=of_image).count for seed in range(40)]
    assert sum(not one for one in found) >= 30


@pytest.mark.parametrize("count", [200, 2_000, 20_000, 200_000])
@pytest.mark.parametrize("right", [1, 5, 50])
def test_images_far_above_the_noise_stand_out(count: int, right: int) -> None:
    """One image or fifty, six spreads above the noise, are found at any size of the index, and little else."""
    near = np.random.default_rng(right).normal(0.55, 0.01, right)
    cut = cut_of(np.concatenate([noise(count - right, seed=3), near]))
    assert right <= cut.count <= right + max(2, 0.2 * right)
    assert cut.score <= near.min()
    assert not cut.more


def test_more_stand_out_than_were_compared() -> None:
    """Where all the best stand out, as do many behind them, the cut says so, and its score is that of the last."""
    near = np.random.default_rng(5).normal(0.6, 0.02, 2_000)
    cut = cut_of(np.concatenate([noise(18_000, seed=4), near]))
    assert (cut.count, cut.more) == (TAIL, True)
    assert cut.score < np.sort(near)[-TAIL]


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(0, 3_000))
def test_more_noise_hides_nothing_that_stands_out_clearly(seed: int, right: int, more: int) -> None:
    """What is ten spreads above the noise stands out, however much noise there is."""
    rng = np.random.default_rng(seed)
    near = rng.normal(0.75, 0.01, right)
    cut = cut_of(np.concatenate([noise(500 + more, seed), near]))
    assert cut.count >= right
    assert cut.score <= near.min()


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=400), st.booleans())
def test_the_cut_is_a_prefix_of_any_answer(scores: list[float], of_image: bool) -> None:
    """Whatever the scores, also equal ones, as many images as are counted score as much as the cut says, or nearly."""
    ordered = np.sort(np.array(scores))[::-1]
    cut = find_cut(ordered[:TAIL], Background(ordered, len(ordered)), of_image=of_image)
    assert 0 <= cut.count <= len(ordered)
    if cut.judged and cut.count:
        assert ordered[cut.count - 1] >= cut.score - 1e-9
    assert cut.judged == (len(ordered) >= FEWEST) or not cut.judged


def test_few_images_are_not_judged() -> None:
    """In an index of fewer than fifty images everything is shown."""
    cut = cut_of(noise(FEWEST - 1, seed=1))
    assert not cut.judged
    assert cut.score == -np.inf


def test_copies_of_the_example_stand_out_and_count_for_nothing_else() -> None:
    """The example itself and its copies are hits; the rest is judged as if they were not there."""
    scores = noise(1_000, seed=9)
    alone, with_copies = cut_of(scores, of_image=True), cut_of(np.append(scores, [1.0, 1.0]), of_image=True)
    assert (alone.count, with_copies.count) == (0, 2)


def test_a_filter_leaves_the_background_as_it_is() -> None:
    """Where a filter leaves only right images, all of them stand out: chance is measured on the whole index."""
    whole = np.sort(np.concatenate([noise(1_950, seed=2), np.full(50, 0.6)]))[::-1]
    cut = find_cut(whole[:50], Background(whole[::2], len(whole)), 50)
    assert cut.count == 50
    wrong = np.sort(noise(50, seed=8))[::-1]
    assert find_cut(wrong, Background(whole[::2], len(whole)), 50).count == 0


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give an index of 120 images of dull noise and of 4 red ones."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(120):
        cells = np.clip(rng.normal(128, 60, (2, 2, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(np.kron(cells, np.ones((32, 32 + 32 * (number % 2), 1), np.uint8))).save(
            photos / f"noise{number:03}.png"
        )
    for number in range(4):
        red = np.array([230 - number, 20 + number, 20], np.uint8)
        Image.fromarray(np.full((64, 64, 3), red, np.uint8)).save(photos / f"red{number}.png")
    run(tmp_path / "ix", photos)
    return tmp_path / "ix"


def names(answer: object) -> list[str]:
    """Return the names of an answer's hits."""
    return [Path(hit.path).stem for hit in answer]  # type: ignore[attr-defined]


def test_an_answer_ends_behind_the_right_images(index: Path, fake_model: FakeModel) -> None:
    """With cut="auto" the red images are the answer, the next best are offered apart, and all ways of asking agree."""
    options = SearchOptions(n=20, cut="auto")
    with ImageIndex(str(index)) as opened:
        answered = ask(opened, SearchRequest("query", "red", options=options), fake_model.encoder())
        assert sorted(names(answered.hits)) == ["red0", "red1", "red2", "red3"]
        assert answered.cut is not None
        assert (answered.cut.count, answered.cut.more) == (4, False)
        assert len(answered.nearest) == 3
        assert all("noise" in name for name in names(answered.nearest))
        (hits,) = query(opened, fake_model.encoder(), [Input("red")], options)
        assert hits == answered.hits
        example = str(index.parent / "photos" / "red2.png")
        assert sorted(names(similar(opened, example, fake_model.encoder(), options))) == names(
            sorted(answered.hits, key=lambda hit: hit.path)
        )


def test_the_cut_is_made_over_more_than_is_shown(index: Path, fake_model: FakeModel) -> None:
    """With n=2 two hits are shown, and four counted."""
    with ImageIndex(str(index)) as opened:
        request = SearchRequest("query", "red", options=SearchOptions(n=2, cut="auto"))
        answered = ask(opened, request, fake_model.encoder())
    assert len(answered.hits) == 2
    assert answered.cut is not None
    assert answered.cut.count == 4


def test_nothing_right_is_answered_with_nothing(index: Path, fake_model: FakeModel) -> None:
    """A query that no image fits has no hits, and the three nearest beside them; without a cut it has ten."""
    with ImageIndex(str(index)) as opened:
        request = SearchRequest("query", "green blue green blue", options=SearchOptions(cut="auto"))
        answered = ask(opened, request, fake_model.encoder())
        assert (answered.hits, len(answered.nearest)) == ([], 3)
        uncut = ask(opened, SearchRequest("query", "green blue green blue"), fake_model.encoder())
    assert len(uncut.hits) == 10
    assert uncut.cut is None


def test_a_filter_and_a_prefix_are_judged_by_the_whole_index(index: Path, fake_model: FakeModel) -> None:
    """Among square images, and at fewer dimensions, the same images stand out."""
    square = SearchOptions(n=20, cut="auto", filters=(Shape("square"),))
    short = SearchOptions(n=20, cut="auto", dim=12)
    with ImageIndex(str(index)) as opened:
        for options in (square, short):
            request = SearchRequest("query", "red", options=options)
            found = ask(opened, request, fake_model.encoder()).hits
            assert sorted(names(found)) == ["red0", "red1", "red2", "red3"]


def test_each_hit_tells_how_far_above_chance_it_is(index: Path, fake_model: FakeModel) -> None:
    """With ``explain`` a hit has the floor, the spread, its distance in spreads, and whether it stands out."""
    options = SearchOptions(n=8, explain=True, filters=(Shape("square"),))
    with ImageIndex(str(index)) as opened:
        request = SearchRequest("query", "red", options=options)
        hits = ask(opened, request, fake_model.encoder()).hits
    assert len(hits) == 8
    for hit in hits:
        assert hit.why is not None
        assert hit.why.spreads == pytest.approx((hit.score - hit.why.floor) / hit.why.spread)
        assert hit.why.stands_out == ("red" in hit.path)
        assert hit.why.matched[0] == Shape("square").sentence()


def test_an_explanation_names_the_words_that_a_name_has(index: Path, fake_model: FakeModel) -> None:
    """The images called red0 to red3 were also found by their names."""
    options = SearchOptions(n=5, explain=True)
    with ImageIndex(str(index)) as opened:
        hits = ask(opened, SearchRequest("query", "red", options=options), fake_model.encoder()).hits
    assert [hit.why.matched for hit in hits if hit.why] == [("name: red",)] * 4 + [()]


def test_any_number_of_hits_can_be_explained(
    index: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes only so many values at once, and all hits are explained anyway."""
    monkeypatch.setattr(fulltext, "AT_ONCE", 7)
    options = SearchOptions(n=124, explain=True)
    with ImageIndex(str(index)) as opened:
        hits = ask(opened, SearchRequest("query", "red", options=options), fake_model.encoder()).hits
    assert len(hits) == 124
    assert sum("name: red" in hit.why.matched for hit in hits if hit.why) == 4


def test_an_unknown_cut_is_refused() -> None:
    """The error names the values that there are."""
    with pytest.raises(UsageError, match="choose one of auto, mark, off"):
        SearchOptions(cut="0.4")


def test_the_sample_is_kept_beside_the_index(
    index: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of a larger index is read from the file beside it, until the index has grown by a tenth."""
    with ImageIndex(str(index)) as opened:
        first = opened.background(50)
        taken = []
        monkeypatch.setattr(opened, "_sample", lambda count: taken.append(count))
        assert np.array_equal(opened.background(50), first)
    with ImageIndex(str(index)) as again:
        monkeypatch.setattr(again, "_sample", lambda count: taken.append(count))
        assert np.array_equal(again.background(50), first)
    assert taken == []
    photos = index.parent / "photos"
    for number in range(20):
        Image.fromarray(np.full((64, 64, 3), 10 * number, np.uint8)).save(photos / f"grey{number}.png")
    run(index, photos)
    with ImageIndex(str(index)) as grown:
        assert len(grown.background(144)) == 144


def test_a_damaged_sample_is_taken_again(index: Path, fake_model: FakeModel) -> None:
    """What does not match its checksum is not used."""
    with ImageIndex(str(index)) as opened:
        first = opened.background(50)
    side_db.write(str(index), lambda db: db.execute("UPDATE sample SET vectors = zeroblob(length(vectors))"))
    with ImageIndex(str(index)) as opened:
        assert np.array_equal(opened.background(50), first)
