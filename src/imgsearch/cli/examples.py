"""The example images of a command line as files: paths as they are, the image on stdin, and addresses."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from imgsearch.cli import door, output
from imgsearch.cli.help import ADVANCED
from imgsearch.errors import InputError

AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private",
        help="Fetch example images also from this machine and its local network",
        rich_help_panel=ADVANCED,
    ),
]


@contextmanager
def image_files(
    images: Sequence[str], reporter: output.ProgressReporter, *, allow_private: bool = False
) -> Iterator[list[str]]:
    """Give the paths of example images: a temporary file for "-", the image on stdin, and for each address.

    In the block an InputError names what was given, not that file. Raises InputError itself.
    """
    if images.count("-") > 1:
        raise InputError("-: there is one image on stdin; give the others as files")
    if not any(image == "-" or door.is_address(image) for image in images):
        yield list(images)
        return
    with tempfile.TemporaryDirectory(prefix="imgsearch-") as folder:
        names: dict[str, str] = {}
        files = []
        for number, image in enumerate(images):
            name = os.path.join(folder, f"image-{number}")
            if image == "-":
                names[name] = "the image on stdin"
                with open(name, "wb") as file:
                    shutil.copyfileobj(sys.stdin.buffer, file)
            elif door.is_address(image):
                from imgsearch.search.fetching import fetch

                names[name] = image
                reporter.wait("Fetching the image")
                with open(name, "wb") as file:
                    fetch(image, file, allow_private=allow_private)
            files.append(name if name in names else image)
        try:
            yield files
        except InputError as error:
            text = str(error)
            for name, given in names.items():
                text = text.replace(name, given)
            raise InputError(text) from error
