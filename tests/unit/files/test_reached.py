"""Which of its names a file or folder goes by: that which was asked for, its own, the known one, the first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.files import Reached
from imgsearch.files.reached import ASKED_FOR, FIRST, KNOWN, OWN


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """Give five names of one file: its own, and those behind four links."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.jpg").write_bytes(b"a")
    for link in ("asked", "known", "first", "second"):
        (tmp_path / link).symlink_to("own")
    return {name: f"{tmp_path}/{name}/a.jpg" for name in ("asked", "own", "known", "first", "second")}


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    ("asked", "own", "known", "reason"),
    [
        (True, True, True, ASKED_FOR),
        (False, True, True, OWN),
        (False, False, True, KNOWN),
        (False, False, False, FIRST),
    ],
)
def test_the_first_name_by_the_rule_counts(
    names: dict[str, str], kind: str, asked: bool, own: bool, known: bool, reason: str
) -> None:
    """Of all names that there are one counts, with its reason; each rank wins where those above it have none."""
    if kind == "folder":
        names = {name: os.path.dirname(path) for name, path in names.items()}
    status = os.stat(names["own"])
    given = [names["asked"]] if asked else []
    reached = Reached(given, lambda: [names["known"]] if known else [])
    if own:
        getattr(reached, kind)(status, names["own"], behind=False)
    verdicts = {
        name: getattr(reached, kind)(status, names[name], behind=True)
        for name in ("first", "second", "known", "asked")
    }
    winner = {ASKED_FOR: "asked", OWN: "own", KNOWN: "known", FIRST: "first"}[reason]
    assert verdicts == {name: (name == winner, reason) for name in verdicts}


def test_an_own_name_counts_though_another_is_known(names: dict[str, str]) -> None:
    """What the index knows behind a link gives way to the file itself."""
    reached = Reached((), lambda: [names["known"]])
    status = os.stat(names["own"])
    assert reached.file(status, names["first"], behind=True) == (False, KNOWN)
    assert reached.file(status, names["own"], behind=False) == (True, OWN)


def test_hard_links_are_files_of_their_own_beside_one_that_was_asked_for(names: dict[str, str]) -> None:
    """Of two entries each has an own name; one entry has none beside the name that was asked for."""
    link = names["own"].replace("a.jpg", "b.jpg")
    os.link(names["own"], link)
    reached = Reached([names["asked"]])
    status = os.stat(link)
    assert reached.file(status, link, behind=False) == (True, OWN)
    assert reached.file(status, names["own"], behind=False) == (False, ASKED_FOR)
