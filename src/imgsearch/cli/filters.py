"""The options that confine an answer to some of the images: by date, camera, rating, keyword and shape."""

from __future__ import annotations

from typing import Annotated

import typer

from imgsearch.cli.help import ADVANCED, SEARCH

After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="DATE",
        help="Taken from then on: 2024, 2024-07, last month",
        rich_help_panel=ADVANCED,
    ),
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="DATE", help="Taken before then", rich_help_panel=ADVANCED)
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="DATE",
        help='Taken then: 2024, 2024-07, "last summer" (also: --after, --before)',
        rich_help_panel=SEARCH,
    ),
]
CameraName = Annotated[
    str | None,
    typer.Option("--camera", metavar="NAME", help="Part of the camera's name", rich_help_panel=ADVANCED),
]
LensName = Annotated[
    str | None,
    typer.Option("--lens", metavar="NAME", help="Part of the lens's name", rich_help_panel=ADVANCED),
]
Rating = Annotated[
    int | None,
    typer.Option("--rating", metavar="N", help="At least so many stars", rich_help_panel=ADVANCED),
]
KeywordName = Annotated[
    list[str] | None,
    typer.Option("--keyword", metavar="WORD", help="With this keyword", rich_help_panel=ADVANCED),
]
ShapeName = Annotated[
    str | None,
    typer.Option(
        "--shape", metavar="NAME", help="landscape, portrait, square or panorama", rich_help_panel=ADVANCED
    ),
]
HasFact = Annotated[
    list[str] | None,
    typer.Option(
        "--has",
        metavar="WHAT",
        help="date, gps, camera, rating, title or keywords",
        rich_help_panel=ADVANCED,
    ),
]
