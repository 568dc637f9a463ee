"""`--stacks`: what a person, a pipe and a program are shown of images that show the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.cli import output
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run

fake_model = fakes.fake_model


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give an index of three files of nearly the same pixels, and of another image."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, seed, side in (("a.png", 1, 90), ("b.png", 1, 60), ("c.png", 1, 45), ("other.png", 2, 90)):
        small = np.random.default_rng(seed).integers(150, 256, (8, 8, 3), dtype=np.uint8)
        small[:, :, 1:] //= 4
        Image.fromarray(small).resize((90, 90), Image.Resampling.BICUBIC).resize((side, side)).save(
            photos / name
        )
    run(tmp_path / "ix", photos)
    return tmp_path / "ix"


def test_a_pipe_gets_every_image_unless_stacks_are_asked_for(index: Path) -> None:
    """Without the option a pipe gets a line per image; with it the others stand behind the best, counted."""
    plain = imgsearch("query", "red", "--index", index)
    assert len(plain.lines) == 4
    stacked = imgsearch("query", "red", "--stacks", "--index", index)
    assert sorted(line.partition("  (")[2] for line in stacked.lines) == ["", "+2 near-duplicates)"]


def test_a_person_gets_stacks_and_how_to_open_them(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal stacks are the default, with a line that says how to list all; --no-stacks lists all."""
    monkeypatch.setattr(output, "for_person", lambda style: style == "text")
    shown = imgsearch("query", "red", "--index", index)
    assert len(shown.lines) == 2
    assert "to list all of them: --no-stacks" in shown.err
    every = imgsearch("query", "red", "--no-stacks", "--index", index)
    assert len(every.lines) == 4
    assert "--no-stacks" not in every.err


def test_json_has_stacks_only_when_they_are_asked_for(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The field "stack" has path, page, score and reason of each of the others; it is absent without --stacks."""
    monkeypatch.setattr(output, "for_person", lambda style: style == "text")
    plain = imgsearch("query", "red", "--json", "--index", index)
    assert all("stack" not in hit for hit in plain.objects)
    assert len(plain.objects) == 4
    hits = imgsearch("query", "red", "--json", "--stacks", "--index", index).objects
    assert sorted(len(hit["stack"]) for hit in hits) == [0, 2]
    assert {other["reason"] for hit in hits for other in hit["stack"]} == {"alike"}


def test_an_image_as_the_words_is_stacked_too(index: Path) -> None:
    """A query that is an image file, which goes on as similar, keeps --stacks."""
    done = imgsearch("query", index.parent / "photos" / "a.png", "--stacks", "--json", "--index", index)
    assert [len(hit["stack"]) for hit in done.objects] == [2, 0]
