"""A question's parts, as a shell or a line gives them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InputError
from imgsearch.search.language.question import Part, parse_question


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["red", "car", "at", "night"], [Part("red car at night")]),
        (
            ["horse", "+", "stripes", "-", "saddle"],
            [Part("horse"), Part("stripes"), Part("saddle", weight=-1)],
        ),
        (["horse + stripes - saddle"], [Part("horse"), Part("stripes"), Part("saddle", weight=-1)]),
        (
            ["2:golden retriever", "+", "0.5: pool"],
            [Part("golden retriever", weight=2), Part("pool", weight=0.5)],
        ),
        (["dog", "+", "-"], [Part("dog"), Part(image="-")]),
        (["dog", "-", "3:cat"], [Part("dog"), Part("cat", weight=-3)]),
        (["well-known", "t-shirt"], [Part("well-known t-shirt")]),
        (["C++", "book"], [Part("C++ book")]),
        (["16:9", "screen"], [Part("16:9 screen")]),
        (["a 16:9 screen + at 12:30"], [Part("a 16:9 screen"), Part("at 12:30")]),
        (["12:30", "-", "re: invoice"], [Part("12:30"), Part("re: invoice", weight=-1)]),
        (["https://example.org/a.jpg"], [Part(image="https://example.org/a.jpg")]),
        (["a / b"], [Part("a / b")]),
        (["dog", "\N{MINUS SIGN}", "cat"], [Part("dog"), Part("cat", weight=-1)]),
    ],
)
def test_a_question_has_the_parts_that_were_typed(words: list[str], parts: list[Part]) -> None:
    """A plus or minus that stands alone parts a question, and a number with a colon is a weight."""
    assert list(parse_question(words)) == parts


def test_a_path_is_an_image(tmp_path: Path) -> None:
    """A part that is the path of a file is an image, also with blanks, weights and operators in its name."""
    for name in ("a.jpg", "b - c.jpg", "2:d.jpg"):
        (tmp_path / name).write_bytes(b"x")
    paths = [os.fspath(tmp_path / name) for name in ("a.jpg", "b - c.jpg", "2:d.jpg")]
    assert parse_question([paths[0], "+", "sunset"]) == (Part(image=paths[0]), Part("sunset"))
    assert parse_question([paths[1]]) == (Part(image=paths[1]),)
    assert parse_question(["cat", "-", paths[2]]) == (Part("cat"), Part(image=paths[2], weight=-1))
    assert parse_question([f"2:{paths[0]}", "+", "a"])[0] == Part(image=paths[0], weight=2)


def test_literally_everything_is_one_text(tmp_path: Path) -> None:
    """Operators, weights and addresses are words where that is asked for."""
    assert parse_question(["2:a", "+", "b"], literal=True) == (Part("2:a + b"),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "empty"),
        (["  "], "empty"),
        (["+"], "nothing before"),
        (["+", "a"], "nothing before"),
        (["a", "+"], "nothing after"),
        (["a", "+", "+", "b"], "missing between"),
        (["a", "+", "-", "b"], "missing between"),
        (["0:a", "+", "b"], "a number above 0"),
        (["1,5:a", "+", "b"], "^1,5: a weight is a number above 0, up to 1000, such as 2 or 0.5"),
        (["a", "+", "nan:b"], "a number above 0"),
        (["a", "+", "-Inf: b"], "a number above 0"),
        (["a", "+", "-2: b"], "a number above 0"),
        (["a", "+", "1e9:b"], "a number above 0"),
        (["a", "-", "99999:b"], "up to 1000"),
        (["2:", "+", "b"], "^2: there is nothing behind the weight"),
        (["a", "+", "2:"], "nothing behind the weight"),
        (["./missing.jpg"], "no such file"),
        (["a", "+", "~/missing/x.jpg"], "no such file"),
        (["/"], "is a folder"),
        (["a"] + ["+", "b"] * 40, "at most 32"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(words: list[str], message: str) -> None:
    """Each mistake gets one line that names the part."""
    with pytest.raises(InputError, match=message):
        parse_question(words)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), max_size=6))
def test_any_words_are_parts_or_refused(words: list[str]) -> None:
    """Whatever is typed gives parts with something in each, or one line of error."""
    with suppress(InputError):
        parts = parse_question(words)
        assert parts
        assert all(bool(part.text) != bool(part.image) and part.weight for part in parts)


def test_an_address_in_a_bucket_is_an_image() -> None:
    """It is one beside words too, with its page; from a client, or where no file may be named, it is words."""
    photo = "s3://photos/a b.jpg"
    assert parse_question(["dog + s3://photos/a.jpg"]) == (Part("dog"), Part(image="s3://photos/a.jpg"))
    assert parse_question([photo, "-", "cat"])[0] == Part(image=photo)
    assert parse_question([photo], relative=False) == (Part(photo),)
    assert parse_question(["s3://photos/a.pdf#page=3"]) == (Part(image="s3://photos/a.pdf", page=2),)
    assert parse_question([photo], files=False) == (Part(photo),)
