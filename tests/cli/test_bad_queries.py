"""What can be wrong with a query and its filters: each is one line that says what to type, and nothing is lost."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of two images that tell nothing of themselves."""
    for colour in ("red", "blue"):
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    run(tmp_path / "ix", tmp_path / "photos")
    return str(tmp_path / "ix")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        # Filters and options that there are not.
        ("red --colour blue", "unknown option --colour; did you mean --color? (see: imgsearch help query)"),
        ("red --afer 2024", "unknown option --afer; did you mean --after?"),
        ("red --on", "--on needs a value"),
        # Dates.
        ("red --on 2023-02-30", "--on: 2023-02-30: there is no such date"),
        ("red --after 0000-00-00", "--after: 0000-00-00: there is no such date"),
        ("red --on 3/4/2024", "is this 2024-03-04 or 2024-04-03? Write it like that"),
        (
            "red --before soon",
            '--before: soon: not a date; write it as 2024, 2024-07, 2024-07-14, or "July 2024"',
        ),
        ("red --on ''", "--on: the date is empty; write it as 2024"),
        ("red --after 2024 --before 2023", "--after 2024 and --before 2023 leave no day between them"),
        # Weights.
        ("0:red + blue", "0: a weight is a number above 0, up to 1000, such as 2 or 0.5"),
        ("red + 1,5:blue", "1,5: a weight is a number above 0"),
        ("red + nan:blue", "nan: a weight is a number above 0"),
        ("red + 5000:blue", "5000: a weight is a number above 0"),
        ("red + 2:", "2: there is nothing behind the weight"),
        # Plus and minus.
        ("+", "+: there is nothing before it; a query starts with what to find"),
        ("red +", "+: there is nothing after it"),
        ("red + + blue", "+ +: something is missing between the two"),
        ("- red", "-: there is nothing before it; a query starts with what to find"),
        ("'- red'", "take away behind it: imgsearch query horse - saddle"),
        ("-1:red + blue", "take away behind it: imgsearch query horse - saddle"),
        ("red - red", "the parts of the query cancel each other out; leave one of them out"),
        # Nothing at all.
        ("", "the words to search for are missing"),
        ("''", "the query is empty; describe what is in the image"),
        ("-", "no query on stdin; write one per line"),
        # Other filters.
        ("red --rating 7", "--rating: 7: a rating is from 0 to 5"),
        ("red --rating many", "--rating many: not a whole number; give the least number of stars, as 4"),
        ("red --shape round", "--shape: round: there is no such shape; these are: landscape,"),
        ("red --has wings", "--has: wings: not known of images; these are: date, gps,"),
        ("red --camera ''", "--camera: the name is empty"),
        ("red --keyword ' '", "--keyword: the name is empty"),
    ],
)
def test_a_query_that_makes_no_sense_is_one_line(index: str, typed: str, message: str) -> None:
    """Each mistake is named in the last line of stderr with what to type; nothing is printed to stdout."""
    done = imgsearch("query", "--index", index, *shlex.split(typed), stdin="")
    assert done.code == 2
    assert done.out == b""
    assert done.err.splitlines()[-1].startswith("imgsearch: ")
    assert message in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--on 2024-07", "taken from 2024-07-01 and before 2024-08-01"),
        ("--on 9999-12-31", "taken from 9999-12-31"),
        ("--camera X-T5", "taken with X-T5"),
        ("--rating 4", "4"),
        ("--rating 4+", "4"),
        ("--keyword sea", "sea"),
        ("--shape panorama", "panorama"),
        ("--has gps", "place"),
        ("--shape square --camera X-T5", "taken with X-T5"),
    ],
)
def test_a_filter_that_matches_nothing_is_named(index: str, options: str, sentence: str) -> None:
    """A filter that no image passes is exit code 1, and the line names it in words."""
    done = imgsearch("query", "red", *options.split(), "--index", index)
    assert (done.code, done.out) == (1, b"")
    assert done.err.startswith("nothing found: no image ")
    assert sentence in done.err
    assert done.err.count("\n") == 1
