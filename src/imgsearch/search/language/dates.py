"""Dates as people write them: a small grammar of English and ISO forms, each a half-open interval of local time.

The grammar, whatever its case:

    date      year | year-month | year-month-day | day.month.year      2024, 2024-07, 2024-07-14, 14.7.2024
            | month year | day month year | month day, year             July 2024, 14 July 2024, Jul 14, 2024
            | season year                                               summer 2024 (winter begins in December)
            | decade                                                    1990s, the 90s
            | today | yesterday | (this | last) (week | month | year | season | month's name)
            | number (days | weeks | months | years) ago
            | (last | past) number (days | weeks | months | years)
    interval  date | date to date | from date to date | between date and date | date..date

With the extra ``languages``, what this grammar does not have is read by dateparser, in the languages of ``_LANGUAGES``.

A week begins on Monday. A day written 3/4/2024 is refused: it is one in March and another in April.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec

from imgsearch.errors import InputError

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""The first month of each, on the northern half; it has three."""
_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_WRITE = 'write it as 2024, 2024-07, 2024-07-14, or "July 2024"'
_MONTH = r"(?P<month>" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS) + r"|sept)\.?"
_SEASON = r"(?P<season>spring|summer|autumn|fall|winter)"
_YEAR = r"(?P<year>\d{4})"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_COUNT = r"(?P<count>\d{1,4}|an?|" + "|".join(_NUMBERS) + ")"
_UNIT = r"(?P<unit>day|week|month|year)s?"


@dataclass(frozen=True, slots=True)
class Interval:
    """Local time from ``start`` up to, and without, ``end``; None is open."""

    start: datetime | None
    end: datetime | None

    def __str__(self) -> str:
        """Return it as ISO writes it, as short as it is exact."""
        if self.start is None or self.end is None:
            return f"before {_short(self.end)}" if self.start is None else f"from {_short(self.start)}"
        for months, form in ((12, "%Y"), (1, "%Y-%m")):
            if self == _months(self.start, months):
                return _form(self.start, form)
        if self == _days(self.start, 1):
            return _form(self.start, "%Y-%m-%d")
        return f"{_short(self.start)} to {_short(self.end - timedelta(microseconds=1))}"


def read_date(text: str, now: datetime) -> Interval:
    """Return the interval that ``text`` means; ``now`` is the local time that "yesterday" counts from.

    Raises InputError for what is no date, for one that no calendar has, and for one that can be read in two ways.
    """
    words = " ".join(text.split()).lower()
    if not words:
        raise InputError(f"the date is empty; {_WRITE}")
    if re.fullmatch(r"\d{1,2}/\d{1,2}/\d{4}", words):
        first, second, year = (int(part) for part in words.split("/"))
        raise InputError(
            f"{text}: is this {year}-{first:02}-{second:02} or {year}-{second:02}-{first:02}? Write it like that"
        )
    for pattern in _RANGES:
        if found := pattern.fullmatch(words):
            start, end = read_date(found[1], now), read_date(found[2], now)
            if start.start is None or end.end is None or end.end <= start.start:
                raise InputError(f"{text}: ends before it begins")
            return Interval(start.start, end.end)
    for pattern, meaning in _FORMS:
        if found := pattern.fullmatch(words):
            try:
                interval = meaning({key: value for key, value in found.groupdict().items() if value}, now)
            except (ValueError, OverflowError):
                interval = None
            if interval is None:
                raise InputError(f"{text}: there is no such date")
            return interval
    if other := _in_other_languages(text, now):
        return other
    raise InputError(f"{text}: not a date; {_WRITE}")


# ---- other languages -----------------------------------------------------------------------------------------

_LANGUAGES = (
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "pl",
    "sv",
    "da",
    "cs",
    "fi",
    "tr",
    "ru",
    "uk",
    "el",
    "ja",
    "zh",
)


def _in_other_languages(text: str, now: datetime) -> Interval | None:
    """Return the interval that a date in one of some languages means; None if it is none, or without the extra."""
    if not re.search(r"[^\W\d_]{2}|[年月日]", text) or find_spec("dateparser") is None:
        return None
    from dateparser.date import DateDataParser

    parser = DateDataParser(languages=list(_LANGUAGES), settings={**_SETTINGS, "RELATIVE_BASE": now})
    try:
        found = parser.get_date_data(text)
    except (ValueError, OverflowError):
        return None
    if found.date_obj is None:
        return None
    day = found.date_obj.replace(tzinfo=None)
    if found.period == "week":
        return _days(day - timedelta(days=day.weekday()), 7)
    if found.period in ("month", "year"):
        first = day if found.period == "month" else day.replace(month=1, day=1)
        return _months(first, 1 if found.period == "month" else 12)
    return _days(day, 1)


_SETTINGS = {"PREFER_DAY_OF_MONTH": "first", "PREFER_MONTH_OF_YEAR": "first", "PREFER_DATES_FROM": "past"}


# ---- what the forms mean -------------------------------------------------------------------------------------

Words = dict[str, str]


def _months(start: datetime, count: int) -> Interval:
    """Return ``count`` months from the first moment of one."""
    total = start.year * 12 + start.month - 1 + count
    year, month = divmod(total, 12)
    first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = datetime.max if year > 9999 else first.replace(year=year, month=month + 1)
    return Interval(first, end)


def _days(start: datetime, count: int) -> Interval:
    first = start.replace(hour=0, minute=0, second=0, microsecond=0)
    # The calendar ends with the year 9999.
    return Interval(first, first + min(timedelta(days=count), datetime.max - first))


def _absolute(words: Words, now: datetime) -> Interval:
    year = int(words["year"])
    if season := words.get("season"):
        return _months(datetime(year, _SEASONS[season], 1), 3)
    if "month" not in words:
        return _months(datetime(year, 1, 1), 12)
    month = _month(words["month"])
    if "day" not in words:
        return _months(datetime(year, month, 1), 1)
    return _days(datetime(year, month, int(words["day"])), 1)


def _decade(words: Words, now: datetime) -> Interval:
    first = int(words["decade"])
    if first < 100:
        first += 1900 if first > now.year % 100 else 2000
    return _months(datetime(first, 1, 1), 120)


def _near(words: Words, now: datetime) -> Interval:
    day = words["near"]
    return _days(now - timedelta(days=day == "yesterday"), 1)


def _this_or_last(words: Words, now: datetime) -> Interval:
    last = words["which"] == "last"
    if season := words.get("season"):
        return _latest(_SEASONS[season], 3, now, last)
    if month := words.get("month"):
        return _latest(_month(month), 1, now, last)
    if words["unit"] == "day":
        return _days(now - timedelta(days=last), 1)
    if words["unit"] == "week":
        return _days(now - timedelta(days=now.weekday() + 7 * last), 7)
    length = 1 if words["unit"] == "month" else 12
    first = now if length == 1 else now.replace(month=1, day=1)
    return _months(_shifted(first, -length * last), length)


def _latest(month: int, length: int, now: datetime, last: bool) -> Interval:
    """Return the stretch of months that begins in a month: this year's, or the last one that is over."""
    year = now.year
    if last:
        while (end := _months(datetime(year, month, 1), length).end) is None or end > now:
            year -= 1
    return _months(datetime(year, month, 1), length)


def _ago(words: Words, now: datetime) -> Interval:
    count, unit = _count(words), words["unit"]
    if unit == "day":
        return _days(now - timedelta(days=count), 1)
    if unit == "week":
        return _days(now - timedelta(days=now.weekday() + 7 * count), 7)
    length = 1 if unit == "month" else 12
    first = now if length == 1 else now.replace(month=1, day=1)
    return _months(_shifted(first, -length * count), length)


def _past(words: Words, now: datetime) -> Interval:
    count, unit = _count(words), words["unit"]
    today = _days(now, 1)
    if unit in ("day", "week"):
        return Interval(_days(now - timedelta(days=count * (7 if unit == "week" else 1)), 1).start, today.end)
    start = _shifted(now, -count * (1 if unit == "month" else 12))
    return Interval(_days(start, 1).start, today.end)


def _shifted(moment: datetime, months: int) -> datetime:
    """Return the same day some months on, the month's last where it has no such day."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return moment.replace(
        year=year, month=month + 1, day=min(moment.day, monthrange(max(year, 1), month + 1)[1])
    )


def _month(word: str) -> int:
    return next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(word.rstrip(".")[:3]))


def _count(words: Words) -> int:
    word = words["count"]
    if word.isdigit():
        return int(word)
    return _NUMBERS.index(word) + 1 if word in _NUMBERS else 1


Meaning = Callable[[Words, datetime], Interval]

# As they stand in a text; the longer ones first, so that a search finds all of a date.
_TEXTS: tuple[tuple[str, Meaning], ...] = (
    (rf"{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)", lambda words, now: _numbers(words)),
    (rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.{_YEAR}", lambda words, now: _numbers(words)),
    (rf"{_YEAR}-(?P<month>\d\d)", lambda words, now: _numbers(words)),
    (rf"{_DAY} {_MONTH},? {_YEAR}", _absolute),
    (rf"{_MONTH} {_DAY},? {_YEAR}", _absolute),
    (rf"(?:{_MONTH}|{_SEASON}),?(?: of)? {_YEAR}", _absolute),
    (r"(?:the )?'?(?P<decade>\d{3}0|\d0)'?s", _decade),
    (r"(?P<near>today|yesterday)", _near),
    (rf"{_COUNT} {_UNIT} ago", _ago),
    (rf"(?:the )?(?:last|past) {_COUNT} {_UNIT}", _past),
    (rf"(?P<which>this|last) (?:{_UNIT}|{_SEASON}|{_MONTH})", _this_or_last),
    (_YEAR, _absolute),
)


def _numbers(words: Words) -> Interval:
    year, month = int(words["year"]), int(words["month"])
    if "day" in words:
        return _days(datetime(year, month, int(words["day"])), 1)
    return _months(datetime(year, month, 1), 1)


_FORMS = tuple((re.compile(text), meaning) for text, meaning in _TEXTS)
_RANGES = tuple(
    map(
        re.compile,
        (r"from (.+) (?:to|until|till) (.+)", r"between (.+) and (.+)", r"(.+) to (.+)", r"(.+)\.\.(.+)"),
    )
)


def _form(moment: datetime, form: str) -> str:
    # strftime leaves out the zeros of a year before 1000.
    return moment.strftime(form.replace("%Y", f"{moment.year:04}"))


def _short(moment: datetime | None) -> str:
    if moment is None:
        return "…"
    return (
        _form(moment, "%Y-%m-%d")
        if (moment.hour, moment.minute) in _MIDNIGHTS
        else _form(moment, "%Y-%m-%d %H:%M")
    )


_MIDNIGHTS = ((0, 0), (23, 59))


# ---- dates in a question -------------------------------------------------------------------------------------

_BEFORE_DATE = (
    r"(?:^|(?<=[\s,(]))(?P<lead>(?:taken |shot |photographed )?"
    r"(?:in |on |from |of |during |since |before |until )?)"
)
_IN_TEXT = tuple(
    (re.compile(_BEFORE_DATE + rf"(?P<date>{text})(?=$|[\s,.;)?!])", re.IGNORECASE), number)
    for number, (text, _) in enumerate(_TEXTS)
)
_ARTICLES = frozenset(["a", "an", "the", "this", "that"])
_DATED = re.compile(
    r"\b(?:calendar|newspaper|magazine|poster|ticket|receipt|invoice|bill|letter|document|report|certificate|screenshot|"
    r"text|title|sign|label|plate|cover|logo|book|novel|diary|planner|agenda|edition|album|stamp|coin|banknote|number|"
    r"model|version|page|route|size|class|vintage|olympics|election)s?\b",
    re.IGNORECASE,
)
"""Things that carry a date themselves: near these words it may be part of the picture."""
_FIRST_YEAR = 1826
"""Of the oldest photograph that there is: what is earlier is no date of one."""


@dataclass(frozen=True, slots=True)
class DateRead:
    """A date that was read out of a question: the words left over, those that were taken, and what they mean."""

    rest: str
    phrase: str
    interval: Interval


def date_in(question: str, now: datetime) -> DateRead | None:
    """Return the date that a question is about, if it can be nothing else; None if it names none, or several.

    Not read are dates beside words for things that carry dates (a 1990 calendar), years that do not end the question
    or follow a preposition (blade runner 2049 poster), years before photography and after ``now``, and the word
    "today" and the like where they describe (today's newspaper).
    """
    if other := _foreign_date_in(question, now):
        return other
    found: list[tuple[int, int, re.Match[str], int]] = []
    for pattern, number in _IN_TEXT:
        for match in pattern.finditer(question):
            if not any(match.start("date") < end and start < match.end("date") for start, end, _, _ in found):
                found.append((match.start("date"), match.end("date"), match, number))
    if len(found) != 1:
        return None
    _, _, match, number = found[0]
    lead = match["lead"].lower()
    if _DATED.search(question):
        return None
    before, after = question[: match.start()].rstrip(), question[match.end() :].strip(" .,;?!)")
    last = before.split()[-1].lower() if before else ""
    bare_year = number == len(_TEXTS) - 1
    if bare_year and not lead.strip() and (after or not before) and question.strip() != match["date"]:
        return None
    if bare_year and lead.strip() == "of":
        return None
    if not lead.strip() and ((last in _ARTICLES and after) or last == "after"):
        return None  # "after 2015" may begin with that year, or behind it
    try:
        interval = read_date(match["date"], now)
    except InputError:
        return None
    if interval.start is None or not interval.start.year >= _FIRST_YEAR or interval.start > now:
        return None
    preposition = lead.split()[-1] if lead.split() else ""
    if preposition == "since":
        interval = Interval(interval.start, None)
    elif preposition in ("before", "until"):
        interval = Interval(None, interval.start if preposition == "before" else interval.end)
    rest = " ".join(f"{before.rstrip(' ,')} {question[match.end() :].lstrip(' ,')}".split())
    return DateRead(rest, match[0].strip(), interval)


_OTHER_MONTHS = (
    "januar jänner januari janvier enero gennaio janeiro februar februari février febrero febbraio fevereiro "
    "märz maart mars marzo março avril abril aprile mai mei mayo maggio maio juni juin junio giugno junho juli "
    "juillet julio luglio julho augustus août agosto septembre septiembre settembre setembro oktober octobre "
    "octubre ottobre outubro novembre noviembre novembro dezember december décembre diciembre dicembre "
    "dezembro"
)
_OTHER_DATE = re.compile(
    r"(?:(?P<rest>.*?\S),?\s+)?(?P<lead>(?:im|in|am|vom|en|au|le|el|del|de|du|em|nel) )?"
    r"(?P<date>(?P<day>\d{1,2}(?:\.|er|º)?\s+)?(?:de\s+)?"
    rf"(?P<month>{_OTHER_MONTHS.replace(' ', '|')})\s+(?:de\s+|del\s+)?\d{{4}})\s*[.!?]?",
    re.IGNORECASE,
)


def _foreign_date_in(question: str, now: datetime) -> DateRead | None:
    """Return the date in another language that ends a question: "Strand im Juli 2023", "plage 14 juillet 2023"."""
    found = _OTHER_DATE.fullmatch(" ".join(question.split()))
    if found is None or _DATED.search(question):
        return None
    if found["month"].lower() == "mars" and not (found["lead"] or found["day"]):
        return None  # the planet
    interval = _in_other_languages(found["date"], now)
    if (
        interval is None
        or interval.start is None
        or not interval.start.year >= _FIRST_YEAR
        or interval.start > now
    ):
        return None
    return DateRead(found["rest"] or "", found["date"], interval)
