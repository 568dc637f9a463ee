"""Dates as people write them, and which of them are read out of a question."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InputError
from imgsearch.search.language.dates import Interval, date_in, read_date

NOW = datetime(2026, 11, 29, 12, 30)  # a Sunday
MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9990, 12, 31))


def days(start: str, end: str) -> Interval:
    """Return the interval from one day up to, and without, another."""
    return Interval(datetime.fromisoformat(start), datetime.fromisoformat(end))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-07", "2024-07-01", "2024-08-01"),
        ("2024-12", "2024-12-01", "2025-01-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("14.7.2024", "2024-07-14", "2024-07-15"),
        ("July 2024", "2024-07-01", "2024-08-01"),
        ("jul. 2024", "2024-07-01", "2024-08-01"),
        ("Sept 2024", "2024-09-01", "2024-10-01"),
        ("14 July 2024", "2024-07-14", "2024-07-15"),
        ("July 14th, 2024", "2024-07-14", "2024-07-15"),
        ("summer 2024", "2024-06-01", "2024-09-01"),
        ("winter 2023", "2023-12-01", "2024-03-01"),
        ("1990s", "1990-01-01", "2000-01-01"),
        ("the 90s", "1990-01-01", "2000-01-01"),
        ("today", "2026-11-29", "2026-11-30"),
        ("yesterday", "2026-11-28", "2026-11-29"),
        ("this week", "2026-11-23", "2026-11-30"),
        ("last week", "2026-11-16", "2026-11-23"),
        ("last month", "2026-10-01", "2026-11-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("last summer", "2026-06-01", "2026-09-01"),
        ("last winter", "2025-12-01", "2026-03-01"),
        ("last December", "2025-12-01", "2026-01-01"),
        ("3 days ago", "2026-11-26", "2026-11-27"),
        ("two weeks ago", "2026-11-09", "2026-11-16"),
        ("a month ago", "2026-10-01", "2026-11-01"),
        ("10 years ago", "2016-01-01", "2017-01-01"),
        ("last 3 days", "2026-11-26", "2026-11-30"),
        ("past 2 months", "2026-09-29", "2026-11-30"),
        ("2019 to 2021", "2019-01-01", "2022-01-01"),
        ("between May 2020 and July 2020", "2020-05-01", "2020-08-01"),
        ("2019..2021-03", "2019-01-01", "2021-04-01"),
        ("9999-12-31", "9999-12-31", "9999-12-31T23:59:59.999999"),
        ("from last month to today", "2026-10-01", "2026-11-30"),
    ],
)
def test_a_date_is_a_half_open_interval(text: str, start: str, end: str) -> None:
    """Each form of the grammar, whatever its case, means its days from midnight to midnight."""
    assert read_date(text, NOW) == read_date(f"  {text.upper()} ", NOW) == days(start, end)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3/4/2024", "2024-03-04 or 2024-04-03"),
        ("2024-13", "there is no such date"),
        ("2023-02-29", "there is no such date"),
        ("31 June 2024", "there is no such date"),
        ("0000", "there is no such date"),
        ("99999999 years ago", "not a date"),
        ("9999 years ago", "there is no such date"),
        ("2021 to 2019", "ends before it begins"),
        ("July", "not a date"),
        ("soon", "not a date"),
        ("", "the date is empty; write it as"),
    ],
)
def test_what_is_no_date_is_refused_with_the_reason(text: str, words: str) -> None:
    """An impossible, ambiguous or unknown date raises an error that shows what to write."""
    with pytest.raises(InputError, match=words):
        read_date(text, NOW)


@given(moment=MOMENTS)
def test_a_day_a_month_and_a_year_hold_their_moments(moment: datetime) -> None:
    """For any moment, the intervals of its day, month and year hold it, each inside the next."""
    day, month, year = (
        read_date(text, NOW)
        for text in (
            f"{moment.year:04}-{moment.month:02}-{moment.day:02}",
            f"{moment.year:04}-{moment.month:02}",
            f"{moment.year:04}",
        )
    )
    assert day.start is not None
    assert day.end is not None
    assert day.start <= moment < day.end == day.start + timedelta(days=1)
    starts = [found.start for found in (year, month, day) if found.start]
    ends = [found.end for found in (day, month, year) if found.end]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert str(day) == f"{moment.year:04}-{moment.month:02}-{moment.day:02}"


@given(
    now=MOMENTS, text=st.sampled_from(["last week", "last month", "last year", "last summer", "last July"])
)
def test_what_is_last_is_over(now: datetime, text: str) -> None:
    """Whenever it is said, "last ..." is over, and not for longer than a year and a season."""
    found = read_date(text, now)
    assert found.end is not None
    assert found.end <= now < found.end + timedelta(days=366 + 92)


@given(text=st.text(max_size=40))
def test_any_text_is_a_date_or_refused(text: str) -> None:
    """Whatever is typed gives an interval or an InputError, and a question with it is never an error."""
    try:
        found = read_date(text, NOW)
    except InputError:
        pass
    else:
        assert found.start is not None
    date_in(text, NOW)


@pytest.mark.parametrize(
    ("question", "rest", "interval"),
    [
        ("beach July 2023", "beach", "2023-07"),
        ("beach, July 2023", "beach", "2023-07"),
        ("2019", "", "2019"),
        ("beach 2019", "beach", "2019"),
        ("a cat in 2018", "a cat", "2018"),
        ("dog last summer in the snow", "dog in the snow", "2026-06-01 to 2026-08-31"),
        ("cat since 2020", "cat", "from 2020-01-01"),
        ("cat before 2015", "cat", "before 2015-01-01"),
        ("photos taken in the 90s", "photos", "1990-01-01 to 1999-12-31"),
        ("two cats 3 days ago", "two cats", "2026-11-26"),
        ("concert 2024-05-03", "concert", "2024-05-03"),
        ("sunset on 14 July 2023", "sunset", "2023-07-14"),
    ],
)
def test_a_date_is_read_out_of_a_question(question: str, rest: str, interval: str) -> None:
    """A date that can be nothing else is taken out, and the other words stay as they are."""
    found = date_in(question, NOW)
    assert found is not None
    assert (found.rest, str(found.interval)) == (rest, interval)


@pytest.mark.parametrize(
    "question",
    [
        "Photo of a 1990 calendar",
        "a July 2023 calendar",
        "calendar page July 2023",
        "yesterday's newspaper",
        "a 2015 car",
        "2019 beach",
        "blade runner 2049",
        "wedding of 2012",
        "route 66 1999",
        "the book 1984",
        "an invoice from May 2020",
        "mount everest 8848",
        "1500",
        "snow in January",
        "march of the penguins",
        "kids between 2010 and 2012",
        "cat after July 2015",
        "a beach",
        "",
    ],
)
def test_what_may_be_something_else_stays_a_word(question: str) -> None:
    """A date that may be part of the picture, a number that is no year, and a bare month are left in the question."""
    assert date_in(question, NOW) is None
