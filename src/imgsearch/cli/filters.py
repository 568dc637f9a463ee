"""The options that confine an answer to some of the images: by date, camera, rating, keyword and shape."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli import completion
from imgsearch.cli.help import FILTERS, SEARCH
from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from imgsearch.index.metadata.filters import Filter
    from imgsearch.types import Reporter

After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="DATE",
        help="Taken from then on: 2024, 2024-07, last month",
        rich_help_panel=FILTERS,
    ),
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="DATE", help="Taken before then", rich_help_panel=FILTERS)
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="DATE",
        help='Taken then: 2024, 2024-07, "last summer"',
        rich_help_panel=SEARCH,
    ),
]
CameraName = Annotated[
    str | None,
    typer.Option(
        "--camera",
        metavar="NAME",
        help="Part of the camera's name",
        autocompletion=completion.cameras,
        rich_help_panel=FILTERS,
    ),
]
LensName = Annotated[
    str | None,
    typer.Option(
        "--lens",
        metavar="NAME",
        help="Part of the lens's name",
        autocompletion=completion.lenses,
        rich_help_panel=FILTERS,
    ),
]


def _stars(text: str) -> int:
    """Read the value of --rating, 4 or 4+. Raises UsageError."""
    try:
        return int(text.strip().removesuffix("+"))
    except ValueError:
        raise UsageError(
            f"--rating {text}: not a whole number; give the least number of stars, as 4"
        ) from None


Rating = Annotated[
    int | None,
    typer.Option(
        "--rating", metavar="N", help="At least so many stars", parser=_stars, rich_help_panel=FILTERS
    ),
]
KeywordName = Annotated[
    list[str] | None,
    typer.Option(
        "--keyword",
        metavar="WORD",
        help="With this keyword",
        autocompletion=completion.keywords,
        rich_help_panel=FILTERS,
    ),
]
ShapeName = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="NAME",
        help="landscape, portrait, square or panorama",
        autocompletion=completion.shapes,
        rich_help_panel=FILTERS,
    ),
]
HasFact = Annotated[
    list[str] | None,
    typer.Option(
        "--has",
        metavar="WHAT",
        help="date, gps, camera, rating, title or keywords",
        autocompletion=completion.facts,
        rich_help_panel=FILTERS,
    ),
]

TypeName = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPES",
        help="Of these types, as in jpg,heic",
        autocompletion=completion.types,
        rich_help_panel=FILTERS,
    ),
]
NamePattern = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="GLOB", help='With such a file name, as in "IMG_*"', rich_help_panel=FILTERS
    ),
]
MinSize = Annotated[
    str | None,
    typer.Option(
        "--min-size", metavar="SIZE", help="At least so large: 12mp, 2000x1000", rich_help_panel=FILTERS
    ),
]
NearPlace = Annotated[
    str | None,
    typer.Option(
        "--near", metavar="PLACE", help="Taken near there: Lisbon, or 48.85,2.35", rich_help_panel=FILTERS
    ),
]
WithinKm = Annotated[
    float | None,
    typer.Option(
        "--within-km", metavar="KM", help="How far from --near; 25 if not given", rich_help_panel=FILTERS
    ),
]
Screenshots = Annotated[
    bool | None,
    typer.Option("--screenshots/--no-screenshots", help="Only screenshots, or none", rich_help_panel=FILTERS),
]
_SHAPES = {
    "landscape": "Wider than high",
    "portrait": "Higher than wide",
    "square": "As wide as high",
    "panorama": "At least twice as long as wide",
}

OPTIONS: dict[str, Any] = {
    "after": After,
    "before": Before,
    "on": On,
    "camera": CameraName,
    "lens": LensName,
    "rating": Rating,
    "keyword": KeywordName,
    "shape": ShapeName,
    "has": HasFact,
    "type": TypeName,
    "name": NamePattern,
    "min_size": MinSize,
    "near": NearPlace,
    "within_km": WithinKm,
    "screenshots": Screenshots,
    **{
        name: Annotated[bool | None, typer.Option(f"--{name}", help=told, rich_help_panel=FILTERS)]
        for name, told in _SHAPES.items()
    },
}
"""What ``search.language.filtering.filters_of`` takes, as options."""
Given = dict[str, Any]
"""The filters that somebody has typed: value by the name of the option."""
NONE: Given = {}


def chosen(given: Given, reporter: Reporter) -> tuple[Filter, ...]:
    """Return the filters that were typed, and tell which town is meant where one is named: there may be several."""
    from imgsearch.index.metadata.filters import Near
    from imgsearch.search.language.filtering import filters_of

    found = filters_of(**given)
    for one in found:
        if isinstance(one, Near) and one.name and one.name != given["near"]:
            reporter.say(f"images {one.sentence()}")
    return found


def filtered(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that filter to a command, where its parameter ``given`` stands; that gets what was typed."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> int:
        typed = {name: kwargs.pop(name, None) for name in OPTIONS}
        given = {name: value for name, value in typed.items() if value is not None}
        return command(*args, **kwargs, given=given)

    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name != "given":
            behind = any(earlier.name in OPTIONS for earlier in parameters)
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY) if behind else parameter)
            continue
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in OPTIONS.items()
        ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
