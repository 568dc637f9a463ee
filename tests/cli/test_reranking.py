"""`imgsearch query --rerank`: a tiny reranker from the disk over an index of the fake model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from imgsearch.cli import output, reranking
from imgsearch.types import RGB, Input
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model
NAMES = ("red", "pink", "blue")


class ByBlue:
    """What stands for a loaded reranker."""

    runtime = fakes.FakeModel().encoder().runtime

    def __init__(self, seconds: float = 0.0, error: type[BaseException] | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.judged = 0

    def seconds_per_image(self) -> float:
        """As the test wants it."""
        return self.seconds

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        """Return the share of blue, until an error comes with the second image."""
        self.judged += len(images)
        if self.error and self.judged > 1:
            raise self.error
        return [float(image[..., 2].mean()) / 255 for image in images]


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give an index of three pictures."""
    for name in NAMES:
        paint(tmp_path / "pictures" / f"{name}.png", name)
    run(tmp_path / "ix", tmp_path / "pictures")
    return tmp_path / "ix"


@pytest.fixture
def by_blue(monkeypatch: pytest.MonkeyPatch) -> ByBlue:
    """Put a reranker in the place of every model."""
    judge = ByBlue()
    monkeypatch.setattr(reranking.Reranking, "_reranker", lambda self: _load(self, judge))
    return judge


def _load(self: reranking.Reranking, judge: ByBlue) -> ByBlue:
    self._loaded, self._name = judge, "fake/reranker"  # type: ignore[assignment]
    return judge


def _stems(lines: Sequence[str]) -> list[str]:
    return [Path(json.loads(line)["path"]).stem for line in lines]


def test_a_real_reranker_from_the_disk(
    index: Path, tiny_reranker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named reranker is loaded and each of the best N has its score, by which they stand."""
    monkeypatch.undo()  # the fake model stands in the place of every checkpoint; the query is cached
    done = imgsearch("similar", index.parent / "pictures" / "red.png", "--index", index, "--json")
    assert done.code == 0
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search import SearchRequest, ask
    from imgsearch.search.hits import SearchOptions
    from imgsearch.types import ModelOptions, PixelBudget

    budget = PixelBudget(4096, 57_600)
    judge = reranking.Reranking(
        tiny_reranker, ModelOptions(device="cpu"), str(index), budget, output.ProgressReporter()
    )
    request = SearchRequest("query", "red", options=SearchOptions(rerank=2))
    with ImageIndex(str(index)) as opened:
        hits = ask(opened, request, fakes.FakeModel().encoder(), judge).hits
    assert [hit.rerank is None for hit in hits] == [False, False, True]
    assert (hits[0].rerank or 0) > (hits[1].rerank or 0)


def test_json_tells_the_score(index: Path, by_blue: ByBlue) -> None:
    """JSON has `rerank` beside `score`, only where it was asked for."""
    done = imgsearch("query", "red", "--rerank", "2", "--json", "--index", index)
    assert done.code == 0, done.err
    assert ["rerank" in hit for hit in done.objects] == [True, True, False]
    assert _stems(done.lines) == ["pink", "red", "blue"]
    plain = imgsearch("query", "red", "--json", "--index", index)
    assert all("rerank" not in hit for hit in plain.objects)
    assert by_blue.judged == 2


def test_text_tells_the_score(index: Path, by_blue: ByBlue) -> None:
    """In a pipe the score stands in brackets behind the path."""
    done = imgsearch("query", "red", "--rerank", "3", "-k", "1", "--index", index)
    assert done.code == 0, done.err
    (line,) = done.lines
    assert line.endswith("blue.png  (rerank 0.90)")


def test_the_time_is_said_beforehand(index: Path, by_blue: ByBlue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who watches is told how long it will take: by an estimate at first, then by the last time."""
    by_blue.seconds = 2.0
    monkeypatch.setattr(output, "draws", lambda: True)
    first = imgsearch("query", "red", "--rerank", "3", "--index", index)
    assert "reranking 3 images: about 6 s; Ctrl-C skips it" in first.err
    again = imgsearch("query", "red", "--rerank", "3", "--index", index)
    assert "about" not in again.err  # it took no time


def test_ctrl_c_shows_a_person_what_was_found(index: Path, by_blue: ByBlue) -> None:
    """Ctrl-C while images are judged gives a person the results in their first order, and 130."""
    by_blue.error = KeyboardInterrupt
    done = imgsearch("query", "red", "--rerank", "3", "--index", index, "--color", "always")
    assert done.code == 130
    assert "red.png" in done.lines[0]
    assert "these results are not reranked" in done.err
    by_blue.judged = 0
    piped = imgsearch("query", "red", "--rerank", "3", "--index", index)
    assert (piped.code, piped.lines) == (130, [])


def test_what_can_not_be_judged_is_named(index: Path, by_blue: ByBlue) -> None:
    """A result whose file is gone stands behind those that were judged, and is said to."""
    (index.parent / "pictures" / "red.png").unlink()
    done = imgsearch("query", "red", "--rerank", "3", "--json", "--index", index)
    assert _stems(done.lines) == ["blue", "pink", "red"]
    assert "1 result was not reranked and stands after those that were" in done.err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("red", "--rerank", "21"), "--rerank 21: from 1 to 20"),
        (
            ("red", "+", "blue", "--rerank", "2"),
            "--rerank: a reranker reads a description and not several parts",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    index: Path, by_blue: ByBlue, argv: tuple[str, ...], told: str
) -> None:
    """Too many, and queries of several parts, are refused in one line."""
    done = imgsearch("query", *argv, "--index", index)
    assert done.code == 2
    assert told in done.err
    assert by_blue.judged == 0
