"""Reading a query as it was typed, for the command line and for servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.errors import InputError
from imgsearch.search.language.question import Part
from imgsearch.search.language.read import Reading, read_query


def test_a_date_in_the_words_becomes_a_filter() -> None:
    """The words of a date leave the text and are told as a filter of their kind."""
    reading = read_query(["beach July 2023"])
    assert reading.text == "beach"
    assert [(one.kind, one.label) for one in reading.read] == [("date", "taken 2023-07")]
    assert reading.filters == {"after": "2023-07-01", "before": "2023-08-01"}


@pytest.mark.parametrize(
    "without", [{"unread": ("date",)}, {"given": {"after": "2020"}}, {"literal": True}], ids=str
)
def test_a_date_stays_among_the_words(without: dict[str, object]) -> None:
    """Where a date is not to be read, or one was given as an option, the words stay as they are."""
    reading = read_query(["beach July 2023"], **without)  # type: ignore[arg-type]
    assert (reading.text, reading.read) == ("beach July 2023", ())


def test_a_query_of_parts_has_no_text_of_its_own() -> None:
    """A plus or minus that stands alone makes parts, with their weights."""
    reading = read_query(["horse + 2:stripes - saddle"])
    assert reading.text == ""
    assert reading.parts == (Part("horse"), Part("stripes", weight=2), Part("saddle", weight=-1))


def test_a_whole_query_keeps_its_signs() -> None:
    """Where one part is wanted, as beside an image, a plus is a character."""
    assert read_query(["horse + stripes"], whole=True).text == "horse + stripes"


def test_a_server_takes_no_file_of_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without relative paths a word is a word, whatever files lie in the process's folder."""
    (tmp_path / "horse").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    here = read_query(["horse + stripes"]).parts[0]
    elsewhere = read_query(["horse + stripes"], relative=False).parts[0]
    assert (here.image, elsewhere.text) == ("horse", "horse")
    assert read_query([f"{tmp_path}/horse + stripes"], relative=False).parts[0].image == f"{tmp_path}/horse"


def test_what_only_excludes_is_an_error() -> None:
    """A query that only takes away is refused, as on the command line."""
    with pytest.raises(InputError, match=r"nothing before it|only excludes"):
        read_query(["- saddle"])


@pytest.mark.parametrize("text", ["red + " * 2_000 + "blue", "red " * 3_000 + "July 2023"])
def test_what_nobody_types_is_one_text(text: str) -> None:
    """A query of more than 10,000 characters is taken as it is: reading it would take long."""
    assert read_query([text]) == Reading(text)
