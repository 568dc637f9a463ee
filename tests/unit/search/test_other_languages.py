"""Dates in German, French, Spanish and other languages are read where the extra for them is installed."""

from __future__ import annotations

from datetime import datetime

import pytest

from imgsearch.errors import InputError
from imgsearch.search.language import dates
from imgsearch.search.language.dates import date_in, read_date

NOW = datetime(2026, 11, 29, 13, 0)
installed = pytest.mark.skipif(
    dates.find_spec("dateparser") is None, reason="the extra [languages] is not installed"
)


@installed
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Juli 2023", "2023-07"),
        ("14. Juli 2023", "2023-07-14"),
        ("juillet 2023", "2023-07"),
        ("14 juillet 2023", "2023-07-14"),
        ("14 de julio de 2023", "2023-07-14"),
        ("marzo 2023", "2023-03"),
        ("gestern", "2026-11-28"),
        ("hier", "2026-11-28"),
        ("ayer", "2026-11-28"),
        ("letzte Woche", "2026-11-16 to 2026-11-22"),
        ("le mois dernier", "2026-10"),
        ("letztes Jahr", "2025"),
        ("2023年7月", "2023-07"),
    ],
)
def test_a_date_in_another_language_is_an_interval(text: str, shown: str) -> None:
    """A day, a week, a month and a year are as long as those in English."""
    assert str(read_date(text, NOW)) == shown


@installed
@pytest.mark.parametrize("text", ["31. Februar 2023", "Strand 2023", "32 juillet 2023", "12:30", "1", "xyz"])
def test_what_is_no_date_in_any_language_is_refused(text: str) -> None:
    """The error is the one for English."""
    with pytest.raises(InputError):
        read_date(text, NOW)


@installed
@pytest.mark.parametrize(
    ("query", "rest", "shown"),
    [
        ("Strand Juli 2023", "Strand", "2023-07"),
        ("Hund am Strand im Juli 2023", "Hund am Strand", "2023-07"),
        ("plage 14 juillet 2023", "plage", "2023-07-14"),
        ("la plage en juillet 2023", "la plage", "2023-07"),
        ("playa en julio de 2023", "playa", "2023-07"),
        ("montagne en mars 2023", "montagne", "2023-03"),
    ],
)
def test_a_date_in_another_language_is_read_out_of_a_query(query: str, rest: str, shown: str) -> None:
    """A month with its year, and a day before it, at the end of a query are its date."""
    read = date_in(query, NOW)
    assert read is not None
    assert (read.rest, str(read.interval)) == (rest, shown)


@installed
@pytest.mark.parametrize("query", ["Juli", "Strand Juli 2030", "Juli 2023 Poster", "Poster Juli 2023"])
def test_what_may_be_something_else_stays_in_the_query(query: str) -> None:
    """A month alone, a date to come and one beside what carries a date are words."""
    assert date_in(query, NOW) is None


@installed
def test_a_planet_is_no_month() -> None:
    """Without a day or a preposition before it, mars is what English calls so."""
    read = date_in("rover on mars 2023", NOW)
    assert read is not None
    assert (read.rest, str(read.interval)) == ("rover on mars", "2023")


def test_without_the_extra_only_english_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date in another language is refused, and only the year is read of it, where the extra is not installed."""
    monkeypatch.setattr(dates, "find_spec", lambda name: None)
    with pytest.raises(InputError):
        read_date("Juli 2023 vormittags", NOW)
    with pytest.raises(InputError):
        read_date("juillet 2023", NOW)
    read = date_in("plage en juillet 2023", NOW)
    assert read is not None
    assert str(read.interval) == "2023"
