"""Where the index is: the folder given, the environment's, the nearest .imgsearch upward, or the user's own."""

from __future__ import annotations

import os
import shlex

NAME = ".imgsearch"


GENERATION = "generation-"
"""Begins the names of the folders in which indexes are made anew beside the one in use."""


def index_of(data: str) -> str:
    """Return the index's folder, given the folder of its catalogue and vectors: the same, or the one above it."""
    return os.path.dirname(data) if os.path.basename(data).startswith(GENERATION) else data


def index_flag(folder: str) -> str:
    """Return the flag, with a space before it, that a command needs to find the index in ``folder``.

    ``folder`` is absolute; the flag is "" where the index is found without.
    """
    return "" if find_index() == folder else f" --index {shlex.quote(folder)}"


def find_index(given: str | None = None) -> str:
    """Return the absolute folder of the index to use, whether or not there is one yet."""
    given = given or os.environ.get("IMGSEARCH_INDEX")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the folder we stand in was deleted: nothing lies upward of it
        folder = os.sep
    while True:
        if os.path.isdir(os.path.join(folder, NAME)):
            return os.path.join(folder, NAME)
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    import platformdirs

    return os.path.join(platformdirs.user_data_dir("imgsearch", appauthor=False), "index")
