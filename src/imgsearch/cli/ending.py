"""Where the answer to a query ends, and why: the options for that, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED
from imgsearch.cli.terminal.hits import NOTHING, Beside
from imgsearch.errors import UsageError

if TYPE_CHECKING:
    # It loads NumPy.
    from imgsearch.search import Answer
    from imgsearch.search.hits import SearchOptions

CutName = Annotated[
    str | None,
    typer.Option(
        "--cut",
        metavar="auto|off",
        help="End where results are no closer than chance; on a terminal this is the default",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
All = Annotated[
    bool,
    typer.Option(
        "--all", help="Show the nearest images, also those that are no match", rich_help_panel=ADVANCED
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show for each result what carried it", rich_help_panel=ADVANCED)
]

_ITSELF = 0.9999
"""The cosine of an image with itself, but for the rounding of what is stored."""


def cut_for(
    asked: str | None, everything: bool, style: str, options: SearchOptions, *, several: bool = False
) -> str:
    """Return the ``cut`` of a search: as asked, else "auto" for a person who has set no limit of their own.

    Not so for ``several`` queries or indexes: there would be several ends. A person sees in any case where chance
    begins.

    Raises UsageError where two options contradict each other.
    """
    if everything and asked == "auto":
        raise UsageError("--cut auto ends the results early and --all does not; give one of them")
    person = output.for_person(style)
    if asked is not None:
        return "mark" if person and asked == "off" else asked
    limited = options.min_score is not None or options.within is not None
    cut = not (everything or limited or several)
    return ("auto" if cut else "mark") if person else "off"


def show(
    answered: Answer,
    style: str,
    options: SearchOptions,
    reporter: output.ProgressReporter,
    read: Mapping[str, object] | None = None,
    beside: Beside = NOTHING,
) -> None:
    """Write the hits of an answer, with what was ``read`` out of the query, and tell a person where it ends.

    If nothing stands out, a person gets the nearest images, and a program nothing. ``beside`` is what a person is
    shown beside all of these.
    """
    cut, hits, person = answered.cut, answered.hits, output.for_person(style)
    if person and only_the_example(answered):
        output.hits(hits, style, read=read, beside=beside)
        reporter.say("nothing else stands out. Nearest, but not near (--all shows more):")
        output.hits(answered.nearest, style, first=2, beside=beside)
    elif hits or not answered.nearest:
        output.hits(hits, style, read=read, beside=beside)
        if hits and person and cut is not None and cut.judged and options.cut == "auto":
            ends = len(hits) == options.n or bool(answered.nearest)
            reporter.say(_told(cut.count, cut.more, len(hits), ends=ends))
    elif person:
        nothing = "nothing more stands out" if cut is not None and cut.count else "nothing stands out"
        reporter.say(f"{nothing}. Nearest, but not near (--all shows more):")
        output.hits(answered.nearest, style, beside=beside)
    else:
        reporter.say("nothing found: the nearest images are no closer than chance (--all shows them)")


def only_the_example(answered: Answer) -> bool:
    """Return whether all that stands out from what was compared with an image is that image, which helps nobody."""
    itself = len(answered.hits) == 1 and answered.hits[0].score >= _ITSELF
    asked = answered.asked
    return itself and asked is not None and asked.of_image and bool(answered.nearest)


def _told(count: int, more: bool, shown: int, *, ends: bool) -> str:
    """Say how many images stand out, of which some are ``shown``; it ``ends`` there if others could follow."""
    some = f"more than {count}" if more else str(count)
    stand = f"{some} {'stands' if count == 1 and not more else 'stand'} out"
    if count > shown:
        return f"{stand}; {shown} of them are shown (-n {count} shows more)"
    return f"{stand}; the next best are no closer than chance (--all shows them)" if ends else stand
